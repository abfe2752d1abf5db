// What clients write and what the model answers stays out of logs and metrics, whatever call it came with and however that ended. The
// real program at its most talkative, and a marker in every text a client can send.
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/integration/puppet_server.h"
#include "tests/integration/rationd_process.h"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kMarker[] = "xyzzymarker";

v1::GenerateRequest Marked(const std::string& request_id) {
  v1::GenerateRequest request = LongRequest(4);
  request.set_request_id(request_id);
  request.set_text(absl::StrCat("he was ", kMarker));
  return request;
}

void Send(Rationd* rationd, const v1::GenerateRequest& request, bool succeeds) {
  EXPECT_EQ(ReadStream(rationd->stub(), request).status.ok(), succeeds) << request.ShortDebugString();
  grpc::ClientContext call;
  v1::GenerateResponse response;
  EXPECT_EQ(rationd->stub().Generate(&call, request, &response).ok(), succeeds) << request.ShortDebugString();
}

// Every call of the service with the marker, those that succeed and those that do not.
void SendEverything(Rationd* rationd) {
  v1::GenerateRequest request = Marked("good");
  request.mutable_response()->set_echo_prompt(true);
  request.mutable_stopping()->add_stop_strings(kMarker);
  Send(rationd, request, true);
  request = Marked("bad_number");
  request.mutable_sampling()->set_temperature(-1);
  Send(rationd, request, false);
  request = Marked("bad_stop");
  for (int i = 0; i < 17; ++i) request.mutable_stopping()->add_stop_strings(kMarker);
  Send(rationd, request, false);
  request = Marked("too_long");
  std::string text;
  while (text.size() < 3 << 19) absl::StrAppend(&text, kMarker, " ");
  request.set_text(text);
  Send(rationd, request, false);
  request = Marked("chat");
  v1::ChatMessage& message = *request.mutable_messages()->add_messages();
  message.set_role(kMarker);
  message.set_content(kMarker);
  Send(rationd, request, false);  // there is no template
  // A string that is not UTF-8: field 2 of GenerateRequest.
  const std::string broken = absl::StrCat("\x12", std::string(1, static_cast<char>(sizeof(kMarker))), kMarker, "\xff");
  EXPECT_FALSE(CallWithBytes(rationd->channel(), "/ration.v1.Generation/Generate", broken).first.ok());
  EXPECT_FALSE(CallWithBytes(rationd->channel(), absl::StrCat("/ration.v1.Generation/", kMarker), broken).first.ok());

  v1::TokenizeRequest tokenize;
  tokenize.set_text(kMarker);
  v1::TokenizeResponse tokens;
  grpc::ClientContext tokenize_call;
  EXPECT_TRUE(rationd->stub().Tokenize(&tokenize_call, tokenize, &tokens).ok());
  v1::DetokenizeRequest detokenize;
  *detokenize.mutable_ids() = tokens.ids();
  v1::DetokenizeResponse detokenized;
  grpc::ClientContext detokenize_call;
  EXPECT_TRUE(rationd->stub().Detokenize(&detokenize_call, detokenize, &detokenized).ok());
  EXPECT_THAT(detokenized.text(), HasSubstr(kMarker));

  grpc::ClientContext cancelled;
  auto reader = rationd->stub().GenerateStream(&cancelled, Marked("cancelled"));
  cancelled.TryCancel();
  reader->Finish();
}

TEST(LogPrivacy, NoTextOfAClientReachesLogsOrMetrics) {
  const TinyCheckpoint checkpoint;
  for (const char* format : {"text", "json"}) {
    auto rationd =
        Rationd::Serving(checkpoint.directory(), {"--log_level=debug", absl::StrCat("--log_format=", format), "--max_prompt_bytes=1MiB"});
    SendEverything(rationd.get());
    EXPECT_THAT(HttpGet(rationd->metrics_port(), "/metrics"), Not(HasSubstr(kMarker)));
    rationd->Signal(SIGTERM);
    EXPECT_EQ(rationd->Wait(), 0);
    const std::string log = rationd->output();
    EXPECT_THAT(log, Not(HasSubstr(kMarker)));
    for (const char* id : {"good", "bad_number", "bad_stop", "too_long", "chat"}) EXPECT_THAT(log, HasSubstr(id)) << "each left a line";
  }
}

TEST(LogPrivacy, LogPromptsLogsTheirBeginning) {
  const TinyCheckpoint checkpoint;
  auto rationd = Rationd::Serving(checkpoint.directory(), {"--log_prompts", "--log_format=json"});
  Send(rationd.get(), Marked("good"), true);
  rationd->Signal(SIGTERM);
  EXPECT_EQ(rationd->Wait(), 0);
  EXPECT_THAT(rationd->output(), HasSubstr("PROMPTS ARE LOGGED"));
  EXPECT_THAT(rationd->output(), HasSubstr(absl::StrCat("\"prompt\":\"he was ", kMarker, "\"")));
}

}  // namespace
}  // namespace ration
