// SPDX-License-Identifier: Apache-2.0

// Preprocessed when the tests are built: which calls the kernel's headers know, and the few that we add.
#include "plan/syscalls.h"
