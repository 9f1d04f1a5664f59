// SPDX-License-Identifier: Apache-2.0

// Stands in for libFuzzer where the compiler has none: runs the target on every file of the corpora named on the
// command line, on prefixes of each, and on copies with single bytes changed. The changes are the same in each run.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kVariantsPerFile = 256;

// The copy ends where the heap's block ends, so that a sanitizer sees a read beyond it.
void run(std::string_view input) {
  std::vector<uint8_t> exact(input.begin(), input.end());
  exact.shrink_to_fit();
  (void)LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void run_with_variants(const std::string& input) {
  run(input);
  if (input.empty()) return;
  std::mt19937 random(12345);
  size_t step = std::max<size_t>(1, input.size() / kVariantsPerFile);
  for (size_t n = 0; n < input.size(); n += step) run(std::string_view(input).substr(0, n));
  for (size_t i = 0; i < kVariantsPerFile; ++i) {
    std::string changed = input;
    changed[random() % changed.size()] = static_cast<char>(random() & 0xff);
    run(changed);
  }
}

int replay(int argc, char** argv) {
  size_t files = 0;
  for (int i = 1; i < argc; ++i) {
    std::vector<std::filesystem::path> paths;
    if (std::filesystem::is_directory(argv[i])) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
        if (entry.is_regular_file()) paths.push_back(entry.path());
      }
    } else {
      paths.emplace_back(argv[i]);
    }
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) {
      std::ifstream in(path, std::ios::binary);
      std::string input((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
      if (!in.good() && !in.eof()) {
        std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
        return 1;
      }
      std::fprintf(stderr, "%s: %zu bytes\n", path.c_str(), input.size());
      run_with_variants(input);
      ++files;
    }
  }
  if (files == 0) std::fprintf(stderr, "usage: %s FILE|DIRECTORY... (no input found)\n", argv[0]);
  return files == 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return replay(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
    return 1;
  }
}
