#include "server/port_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace ration {
namespace {

using ::testing::HasSubstr;

std::string Read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(PortFile, ReplacesWhatADeadRunLeft) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/port_file_", getpid());
  std::ofstream(path) << "old\n";
  std::ofstream(path + ".tmp") << "a longer text that was never finished";
  ASSERT_TRUE(RemovePortFile(path).ok());
  EXPECT_NE(access(path.c_str(), F_OK), 0);
  EXPECT_TRUE(RemovePortFile(path).ok()) << "there is none";
  ASSERT_TRUE(WritePortFile(path, {1, 0, 65535}).ok());
  EXPECT_EQ(Read(path), "1\n0\n65535\n");
  EXPECT_NE(access((path + ".tmp").c_str(), F_OK), 0);
  ASSERT_TRUE(WritePortFile(path, {2}).ok());
  EXPECT_EQ(Read(path), "2\n");
  unlink(path.c_str());
}

TEST(PortFile, ErrorsNameTheFlagAndTheFile) {
  EXPECT_THAT(std::string(WritePortFile("/does/not/exist", {1}).message()), HasSubstr("--port_file: cannot write /does/not/exist.tmp"));
  const std::string directory = absl::StrCat(::testing::TempDir(), "/port_file_directory_", getpid());
  ASSERT_EQ(mkdir(directory.c_str(), 0700), 0);
  EXPECT_THAT(std::string(RemovePortFile(directory).message()), HasSubstr(absl::StrCat("cannot remove the old ", directory, ": ")));
  EXPECT_THAT(std::string(WritePortFile(directory, {1}).message()), HasSubstr("cannot rename"));
  unlink((directory + ".tmp").c_str());
  rmdir(directory.c_str());
}

}  // namespace
}  // namespace ration
