// A new directory for one test, removed with all that is in it at the end.
// For one test's thread.
#ifndef RATION_TESTS_TESTING_TEMPORARY_DIRECTORY_H_
#define RATION_TESTS_TESTING_TEMPORARY_DIRECTORY_H_

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace ration {

class TemporaryDirectory {
 public:
  TemporaryDirectory() : path_(::testing::TempDir() + "/ration.XXXXXX") {
    if (mkdtemp(&path_[0]) == nullptr) std::abort();
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::string Path(const std::string& name) const { return path_ + "/" + name; }
  // Writes a file as careful programs do: a reader sees the old content or the new, and nothing between. Returns its path.
  std::string Write(const std::string& name, const std::string& content) const {
    const std::string path = Path(name);
    std::ofstream(path + ".new", std::ios::binary) << content;
    std::rename((path + ".new").c_str(), path.c_str());
    return path;
  }

 private:
  std::string path_;
};

}  // namespace ration

#endif  // RATION_TESTS_TESTING_TEMPORARY_DIRECTORY_H_
