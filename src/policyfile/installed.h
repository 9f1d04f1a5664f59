// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the administrator and the vendor have put where policies belong. A name that is not there means that nothing was
// said, and the vendor's word counts. Everything else that keeps a file from being read is an error: a link that leads
// nowhere was meant to lead somewhere.

#include <map>
#include <span>
#include <string>

#include "base/result.h"
#include "policyfile/service_config.h"

namespace wrapd::policyfile {

// True only if the directory of `path` has no such name, or is itself absent in this sense. A dangling link, and what
// cannot be looked up, is no absent name.
[[nodiscard]] Result<bool> is_absent(const std::string& path);

// File name -> path of every *.yaml. What an earlier directory has replaces what a later one has of the same name.
// A directory may be absent.
[[nodiscard]] Result<std::map<std::string, std::string>> policy_files(std::span<const std::string> directories);

// Whether all policies that `config` (of the file `file`) grants are among `installed`. FILE:LINE:COL of the first that
// is not.
[[nodiscard]] Result<> check_granted(const ServiceConfig& config, const std::string& file,
                                     std::span<const std::string> installed);

}  // namespace wrapd::policyfile
