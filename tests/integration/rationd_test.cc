// The program itself, as an operator runs it: command line, start, drain on signals, exit status.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "proto/generation.grpc.pb.h"
#include "tests/integration/puppet_server.h"
#include "tests/integration/rationd_process.h"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

using ::testing::HasSubstr;

class RationdTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { checkpoint_ = new TinyCheckpoint(); }
  static void TearDownTestSuite() {
    delete checkpoint_;
    checkpoint_ = nullptr;
  }
  static TinyCheckpoint* checkpoint_;
};
TinyCheckpoint* RationdTest::checkpoint_ = nullptr;

TEST_F(RationdTest, FinishesRunningStreamsOnSigterm) {
  auto rationd = Rationd::Serving(checkpoint_->directory(), {"--grace_period=10m"});
  grpc::ClientContext call;
  auto reader = rationd->stub().GenerateStream(&call, LongRequest(2000));
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message)) << reader->Finish().error_message();
  int64_t tokens = message.token_ids_size();
  EXPECT_LT(tokens, 2000) << "the stream should still be running when the signal comes";
  rationd->Signal(SIGTERM);
  while (reader->Read(&message)) tokens += message.token_ids_size();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 2000);
  EXPECT_EQ(rationd->Wait(), 0);
  EXPECT_THAT(rationd->output(), HasSubstr("every request ended"));
}

TEST_F(RationdTest, EndsRunningStreamsWithUnavailableWhenTheGracePeriodIsOver) {
  auto rationd = Rationd::Serving(checkpoint_->directory(), {"--grace_period=0"});
  grpc::ClientContext call;
  auto reader = rationd->stub().GenerateStream(&call, LongRequest(4000));
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  rationd->Signal(SIGINT);
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(rationd->Wait(), 0);
}

TEST_F(RationdTest, EndsAtOnceOnASecondSignal) {
  auto rationd = Rationd::Serving(checkpoint_->directory(), {"--grace_period=10m"});
  grpc::ClientContext call;
  auto reader = rationd->stub().GenerateStream(&call, LongRequest(4000));
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  rationd->Signal(SIGTERM);
  while (HealthOf(rationd->channel(), "ration.v1.Generation") == "SERVING") absl::SleepFor(absl::Milliseconds(1));
  rationd->Signal(SIGTERM);
  EXPECT_EQ(rationd->Wait(), 128 + SIGTERM);
  call.TryCancel();
  reader->Finish();
}

TEST_F(RationdTest, ServesTextAndSaysWhatItServes) {
  auto rationd = Rationd::Serving(checkpoint_->directory(), {"--model_name=tiny", "--ratio=1:1:2"});
  v1::GetModelInfoResponse info;
  grpc::ClientContext info_call;
  ASSERT_TRUE(rationd->stub().GetModelInfo(&info_call, v1::GetModelInfoRequest(), &info).ok());
  EXPECT_EQ(info.name(), "tiny");
  EXPECT_TRUE(info.routed());
  EXPECT_TRUE(info.has_tokenizer());
  ASSERT_EQ(info.experts_size(), 3);
  EXPECT_EQ(info.experts(1).group_size(), 2);
  EXPECT_EQ(info.experts(2).ratio(), 0.5);
  EXPECT_EQ(info.experts(0).bytes_per_token(), info.full_kv_bytes_per_token());
  EXPECT_EQ(info.experts(2).bytes_per_token() * 4, info.full_kv_bytes_per_token());
  EXPECT_DOUBLE_EQ(info.kv_fraction(), 0.5);
  EXPECT_LE(info.kv_budget_bytes(), 4 << 20);

  v1::GenerateRequest request = LongRequest(20);
  request.set_text("he was the");
  const StreamResult result = ReadStream(rationd->stub(), request);
  EXPECT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.num_tokens(), 20);
  const v1::Finish& finish = result.messages.back().finish();
  EXPECT_EQ(finish.generated_tokens(), 20);
  EXPECT_GT(finish.kv().stored_bytes(), 0);
  EXPECT_LT(finish.kv().stored_bytes(), finish.kv().full_bytes());
  EXPECT_EQ(finish.kv().prompt_tokens_per_expert_size(), 3);
  rationd->Signal(SIGTERM);
  EXPECT_EQ(rationd->Wait(), 0);
  EXPECT_THAT(rationd->output(), HasSubstr("ratio 0.25:0.25:0.5"));
  EXPECT_EQ(rationd->output().find("he was the"), std::string::npos) << "prompts are never logged";
}

TEST_F(RationdTest, ServesIdsWithALoudWarningWhenThereIsNoTokenizer) {
  TinyCheckpointOptions options;
  options.with_tokenizer = false;
  const TinyCheckpoint checkpoint(options);
  auto rationd = Rationd::Serving(checkpoint.directory(), {});
  EXPECT_THAT(rationd->output(), HasSubstr("NO TOKENIZER"));
  EXPECT_EQ(ReadStream(rationd->stub(), LongRequest(5)).num_tokens(), 5);
}

TEST_F(RationdTest, RefusesAWrongCommandLineInOneLineWithStatusTwo) {
  const std::string model = "--model=" + checkpoint_->directory();
  struct Case {
    std::vector<std::string> flags;
    std::string says;
  };
  const Case cases[] = {  // one of each kind: starting the program takes a while; server_options_test has the rest
      {{}, "--model: "},
      {{"--modle=x"}, "unknown flag \"--modle\""},
      {{model, "--listen=0.0.0.0:1"}, "--insecure"},
      {{"--model=/does/not/exist"}, "/does/not/exist"},
      {{model, "--ratio=3:x:6"}, "3:x:6"},
      {{model, "--page_bytes=100"}, "page_bytes"},
  };
  for (const Case& bad : cases) {
    Rationd rationd(bad.flags);
    EXPECT_EQ(rationd.Wait(), 2) << bad.says;
    const std::string output = rationd.output();
    EXPECT_THAT(output, ::testing::StartsWith("rationd: "));
    EXPECT_THAT(output, HasSubstr(bad.says));
    EXPECT_EQ(std::count(output.begin(), output.end(), '\n'), 1) << output;
  }
}

TEST_F(RationdTest, TakesItsSettingsFromAFile) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/rationd_", getpid(), ".textproto");
  std::ofstream(path) << "model_name: \"from the file\"\nkv_budget: \"1MiB\"\nhealth_listen: \"127.0.0.1:0\"\n";
  auto rationd = Rationd::Serving(checkpoint_->directory(), {"--config=" + path});
  v1::GetModelInfoResponse info;
  grpc::ClientContext call;
  ASSERT_TRUE(rationd->stub().GetModelInfo(&call, v1::GetModelInfoRequest(), &info).ok());
  EXPECT_EQ(info.name(), "from the file");
  EXPECT_GT(info.kv_budget_bytes(), 2 << 20) << "the command line wins";
  ASSERT_GT(rationd->health_port(), 0);
  const auto health =
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", rationd->health_port()), grpc::InsecureChannelCredentials());
  EXPECT_EQ(HealthOf(health, "ration.v1.Generation"), "SERVING");
  rationd->Signal(SIGTERM);
  EXPECT_EQ(rationd->Wait(), 0);

  Rationd print({"--config=" + path, "--model=" + checkpoint_->directory(), "--print_config"});
  EXPECT_EQ(print.Wait(), 0);
  EXPECT_THAT(print.output(), HasSubstr("kv_budget: \"1MiB\"\n"));
  EXPECT_THAT(print.output(), HasSubstr("grace_period: \"25s\"\n"));

  std::ofstream(path) << "\n  threads: -1\n";
  Rationd bad({"--config=" + path, "--model=" + checkpoint_->directory()});
  EXPECT_EQ(bad.Wait(), 2);
  EXPECT_THAT(bad.output(), ::testing::StartsWith(absl::StrCat("rationd: ", path, ":2:3: threads: must be in [0, 1024], not -1")));
  unlink(path.c_str());
}

TEST_F(RationdTest, AFailedStartIsAnEventInAJsonLog) {
  Rationd rationd({"--model=/does/not/exist", "--log_format=json"});
  EXPECT_EQ(rationd.Wait(), 2);
  EXPECT_THAT(rationd.output(), ::testing::MatchesRegex("\\{\"time\":\"[^\"]*\",\"level\":\"error\",\"message\":\"/does/not/exist[^\n]*\"\\}\n"));
}

TEST_F(RationdTest, SaysInOneLineThatItsPortIsTaken) {
  auto first = Rationd::Serving(checkpoint_->directory(), {});
  Rationd second({"--model=" + checkpoint_->directory(), "--listen=127.0.0.1:" + std::to_string(first->port()),
                  "--metrics_listen=", "--control_listen=", "--log_level=error", "--kv_budget=4MiB"});
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_THAT(second.output(), ::testing::StartsWith("rationd: --listen: cannot bind 127.0.0.1:"));
  const std::string output = second.output();
  EXPECT_EQ(std::count(output.begin(), output.end(), '\n'), 1) << output;
}

TEST_F(RationdTest, ExplainsItself) {
  Rationd help({"--help"});
  EXPECT_EQ(help.Wait(), 0);
  for (const char* flag : {"--model", "--listen", "--kv_budget (default 1GiB)", "--ratio", "--grace_period (default 25s)"}) {
    EXPECT_THAT(help.output(), HasSubstr(flag));
  }
  Rationd version({"--version"});
  EXPECT_EQ(version.Wait(), 0);
  EXPECT_THAT(version.output(), ::testing::StartsWith("rationd 0."));
}

}  // namespace
}  // namespace ration
