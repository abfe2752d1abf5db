// Files that change under a running server, in all the ways that files change.
#include "server/security/watched_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/temporary_directory.h"

namespace ration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class WatchedFilesTest : public ::testing::Test {
 protected:
  WatchedFilesTest()
      : files_({{"first", directory_.Write("a", "a1")}, {"second", directory_.Write("b", "b1")}},
               [this](const std::vector<std::string>& contents) {
                 if (absl::StrContains(contents[0], "bad")) return absl::InvalidArgumentError("--first: is bad");
                 used_.push_back(contents[0] + "+" + contents[1]);
                 return absl::OkStatus();
               }) {}
  void PollUntilSettled() {
    files_.Poll();
    files_.Poll();
  }
  TemporaryDirectory directory_;
  std::vector<std::string> used_;
  WatchedFiles files_;
  CapturedLog log_;
};

TEST_F(WatchedFilesTest, UsesThemAtStartAndWheneverTheyChange) {
  ASSERT_TRUE(files_.Load().ok());
  PollUntilSettled();
  EXPECT_THAT(used_, ElementsAre("a1+b1")) << "nothing has changed";
  directory_.Write("a", "a2");
  PollUntilSettled();
  EXPECT_THAT(used_, ElementsAre("a1+b1", "a2+b1"));
  EXPECT_THAT(log_.text(), HasSubstr("--first, --second changed and is in force now"));
  std::ofstream(directory_.Path("b")) << "b2";  // in place
  PollUntilSettled();
  EXPECT_THAT(used_, ElementsAre("a1+b1", "a2+b1", "a2+b2"));
}

TEST_F(WatchedFilesTest, WaitsUntilBothHalvesOfAChangeAreThere) {
  ASSERT_TRUE(files_.Load().ok());
  directory_.Write("a", "a2");
  files_.Poll();
  directory_.Write("b", "b2");
  files_.Poll();
  EXPECT_THAT(used_, ElementsAre("a1+b1")) << "the files may still be changing";
  files_.Poll();
  EXPECT_THAT(used_, ElementsAre("a1+b1", "a2+b2"));
}

TEST_F(WatchedFilesTest, KeepsWhatIsInForceWhenTheNewFilesAreBadAndWarnsOnce) {
  ASSERT_TRUE(files_.Load().ok());
  directory_.Write("a", "bad");
  PollUntilSettled();
  PollUntilSettled();
  EXPECT_THAT(used_, ElementsAre("a1+b1"));
  const std::string warning = "--first: is bad; what was read before stays in force";
  EXPECT_THAT(log_.text(), HasSubstr(warning));
  EXPECT_EQ(log_.text().find(warning), log_.text().rfind(warning)) << log_.text();
  directory_.Write("a", "a1");
  PollUntilSettled();
  EXPECT_THAT(used_, ElementsAre("a1+b1", "a1+b1")) << "good again, if not new";
}

TEST_F(WatchedFilesTest, SurvivesThatAFileIsGoneForAWhile) {
  ASSERT_TRUE(files_.Load().ok());
  std::remove(directory_.Path("b").c_str());
  PollUntilSettled();
  EXPECT_THAT(log_.text(), HasSubstr("--second: cannot read " + directory_.Path("b") + ": No such file or directory; what was read"));
  directory_.Write("b", "b2");
  PollUntilSettled();
  EXPECT_THAT(used_, ElementsAre("a1+b1", "a1+b2"));
}

// A volume of a ConfigMap or Secret: tls.crt -> ..data/tls.crt, ..data -> ..VERSION; an update makes a new directory and renames a new
// link over ..data.
TEST(WatchedFiles, FollowKubernetesVolumes) {
  CapturedLog log;
  TemporaryDirectory directory;
  std::filesystem::create_directory(directory.Path("..v1"));
  std::filesystem::create_directory(directory.Path("..v2"));
  directory.Write("..v1/tls.crt", "old");
  directory.Write("..v2/tls.crt", "new");
  std::filesystem::create_symlink("..v1", directory.Path("..data"));
  std::filesystem::create_symlink("..data/tls.crt", directory.Path("tls.crt"));
  std::vector<std::string> used;
  WatchedFiles files({{"tls_cert", directory.Path("tls.crt")}}, [&](const std::vector<std::string>& contents) {
    used.push_back(contents[0]);
    return absl::OkStatus();
  });
  ASSERT_TRUE(files.Load().ok());
  std::filesystem::create_symlink("..v2", directory.Path("..data_tmp"));
  std::filesystem::rename(directory.Path("..data_tmp"), directory.Path("..data"));
  std::filesystem::remove_all(directory.Path("..v1"));
  files.Poll();
  files.Poll();
  EXPECT_THAT(used, ElementsAre("old", "new"));
}

TEST(WatchedFiles, RefuseWhatIsNoFileOfASensibleSizeAndDoNotBlock) {
  TemporaryDirectory directory;
  const std::string pipe = directory.Path("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const std::pair<std::string, std::string> cases[] = {
      {directory.Path("none"), "No such file or directory"},
      {directory.Path("."), "not a regular file"},
      {pipe, "not a regular file"},
      {"/dev/zero", "not a regular file"},
      {directory.Write("large", std::string((1 << 20) + 1, 'x')), "more than 1 MiB"}};
  for (const auto& [path, why] : cases) {
    const absl::Status status = WatchedFiles({{"tls_key", path}}, [](const auto&) { return absl::OkStatus(); }).Load();
    EXPECT_EQ(status.message(), "--tls_key: cannot read " + path + ": " + why);
  }
}

TEST_F(WatchedFilesTest, LogsNoContent) {
  ASSERT_TRUE(files_.Load().ok());
  directory_.Write("a", "s3cr3t");
  PollUntilSettled();
  directory_.Write("a", "bad s3cr3t");
  PollUntilSettled();
  EXPECT_THAT(log_.text(), Not(IsEmpty()));
  EXPECT_THAT(log_.text(), Not(HasSubstr("s3cr3t")));
}

}  // namespace
}  // namespace ration
