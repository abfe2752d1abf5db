#include "server/config_source.h"

#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace ration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ConfigSourceTest : public ::testing::Test {
 protected:
  ConfigSourceTest() : path_(absl::StrCat(::testing::TempDir(), "/config_", getpid(), ".textproto")) {}
  ~ConfigSourceTest() override { unlink(path_.c_str()); }

  void Write(const std::string& text) { std::ofstream(path_, std::ios::trunc | std::ios::binary) << text; }
  absl::StatusOr<ConfigSource> Read(std::vector<std::string> arguments) {
    arguments.push_back("--config=" + path_);
    return ConfigSource::Read(arguments);
  }
  std::string ErrorOf(const std::string& text) {
    Write(text);
    const absl::Status status = Read({}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << "one line";
    return std::string(status.message());
  }

  const std::string path_;
};

TEST_F(ConfigSourceTest, TheCommandLineWinsOverTheFileAndTheFileOverTheDefaults) {
  Write("# a comment\nmodel: \"stories\" threads: 3\ninsecure: true\nkv_floor: 0.25\nladder: \"1:0:0\"\nladder: \"0:0:1\"\n");
  auto source = Read({"--threads=5", "--noinsecure"});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->config().model(), "stories");
  EXPECT_EQ(source->config().threads(), 5);
  EXPECT_FALSE(source->config().insecure());
  EXPECT_EQ(source->config().kv_floor(), 0.25);
  EXPECT_THAT(source->config().ladder(), ElementsAre("1:0:0", "0:0:1"));
  EXPECT_EQ(source->config().kv_budget(), "1GiB");

  source = Read({"--ladder=1:0:0,0:1:0"});
  ASSERT_TRUE(source.ok());
  EXPECT_THAT(source->config().ladder(), ElementsAre("1:0:0", "0:1:0")) << "a list is replaced, not extended";
  source = Read({"--ladder="});
  ASSERT_TRUE(source.ok());
  EXPECT_EQ(source->config().ladder_size(), 0) << "also by nothing";
}

TEST_F(ConfigSourceTest, MistakesNameFileLineAndColumn) {
  EXPECT_EQ(ErrorOf("model: \"x\"\n  modle: \"y\"\n"), path_ + ":2:8: no setting is named \"modle\"; see --help");
  EXPECT_THAT(ErrorOf("threads: \"many\"\n"), StartsWith(path_ + ":1:10: "));
  EXPECT_THAT(ErrorOf("\n\nthreads: 1\nthreads: 2\n"), StartsWith(path_ + ":4:"));
  EXPECT_THAT(ErrorOf("model: \"unfinished\n"), StartsWith(path_ + ":1:"));
  EXPECT_THAT(ErrorOf("{{{{"), StartsWith(path_ + ":1:1: "));
  EXPECT_THAT(ErrorOf(std::string("\0\xff\x01", 3)), StartsWith(path_ + ":1:"));
  EXPECT_EQ(ErrorOf("insecure: true\nconfig: \"other\"\n"),
            path_ + ":2:1: config: belongs on the command line, not in a file");
}

TEST_F(ConfigSourceTest, RefusesFilesThatAreMissingOrTooLarge) {
  const absl::Status status = ConfigSource::Read({"--config=/does/not/exist"}).status();
  EXPECT_EQ(status.message(), "--config: /does/not/exist: No such file or directory");
  EXPECT_THAT(ErrorOf(std::string((64 << 10) + 1, '#')), HasSubstr("more than 65536 bytes, the limit"));
  EXPECT_THAT(std::string(ConfigSource::Read({"--config=/dev/zero"}).status().message()), HasSubstr("the limit"));
  EXPECT_THAT(std::string(ConfigSource::Read({"--config=/"}).status().message()), HasSubstr("Is a directory"));
  Write(std::string(64 << 10, '#'));
  EXPECT_TRUE(Read({}).ok());
}

TEST_F(ConfigSourceTest, ErrorsAboutAValuePointToWhoeverSetIt) {
  Write("threads: -1\n  dtype: \"int8\"\nladder: \"x\"\n");
  auto source = Read({"--dtype=int4"});
  ASSERT_TRUE(source.ok());
  EXPECT_EQ(source->Explain(absl::InvalidArgumentError("--threads: must be 1, not -1")).message(),
            path_ + ":1:1: threads: must be 1, not -1");
  EXPECT_EQ(source->Explain(absl::InvalidArgumentError("--ladder: bad")).message(), path_ + ":3:1: ladder: bad");
  EXPECT_EQ(source->Explain(absl::InvalidArgumentError("--dtype: bad")).message(), "--dtype: bad") << "the command line set it";
  EXPECT_EQ(source->Explain(absl::InvalidArgumentError("--model: missing")).message(), "--model: missing") << "nobody set it";
  EXPECT_EQ(source->Explain(absl::InternalError("other")).message(), "other");
}

TEST_F(ConfigSourceTest, WhatItPrintsSetsTheSameAgain) {
  Write("model: \"sto\\\"ries\\n\" threads: 3 kv_floor: 0.1\nladder: \"1:0:0\" ladder: \"0:0:1\" port_file: \"/p\"\n");
  const auto source = Read({"--print_config", "--insecure"});
  ASSERT_TRUE(source.ok()) << source.status();
  const std::string text = ToConfigFile(source->config());
  EXPECT_THAT(text, HasSubstr("kv_budget: \"1GiB\"\n"));
  EXPECT_THAT(text, HasSubstr("insecure: true\n"));
  EXPECT_THAT(text, HasSubstr("kv_floor: 0.1\n"));
  EXPECT_EQ(text.find("config"), std::string::npos);
  Write(text);
  const auto again = Read({});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ToConfigFile(again->config()), text);
  EXPECT_EQ(again->config().model(), "sto\"ries\n");
}

}  // namespace
}  // namespace ration
