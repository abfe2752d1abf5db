#include "client/json_output.h"

#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "client/rpc_error.h"
#include "gtest/gtest.h"
#include "tests/client/fake_generation_service.h"

namespace ration {
namespace {

using nlohmann::json;

TEST(JsonOutputTest, StreamMessagesHaveTheDocumentedFields) {
  const std::vector<v1::GenerateResponse> replies = testing::StoryReplies();
  EXPECT_EQ(ToJson(replies[0]),
            R"({"request_id":"story-1","prompt_info":{"prompt_tokens":3,"seed":18446744073709551615,"ratio_epoch":2},)"
            R"("text":"Once","token_ids":[403]})");
  EXPECT_EQ(ToJson(replies[1]), R"({"request_id":"story-1","text":" upon","token_ids":[407]})");
  EXPECT_EQ(ToJson(replies[2]),
            R"({"request_id":"story-1","text":" a time","token_ids":[261,378],"finish":{"reason":"length","prompt_tokens":3,)"
            R"("generated_tokens":4,"queue_seconds":0.0015,"time_to_first_token_seconds":0.02,"total_seconds":0.05,)"
            R"("kv":{"peak_bytes":122880,"stored_bytes":80000,"full_bytes":160000,"prompt_tokens_per_expert":[1.0,0.4,1.6],)"
            R"("generated_tokens_per_expert":[1.0,0.0,2.0],"ratio_epochs":[2],"tokens_regrouped":0}}})");
}

TEST(JsonOutputTest, StopsSayWhatStoppedThem) {
  v1::GenerateResponse message;
  message.mutable_finish()->set_reason(v1::FINISH_REASON_STOP);
  message.mutable_finish()->set_stop_string("\n\n");
  EXPECT_EQ(json::parse(ToJson(message))["finish"]["stop_string"], "\n\n");
  EXPECT_EQ(json::parse(ToJson(message))["finish"]["reason"], "stop");
  EXPECT_FALSE(json::parse(ToJson(message))["finish"].contains("stop_token_id"));
  message.mutable_finish()->set_stop_token_id(0);
  EXPECT_EQ(json::parse(ToJson(message))["finish"]["stop_token_id"], 0);
}

TEST(JsonOutputTest, LogprobsAreListedAndMinusInfinityIsNull) {
  v1::GenerateResponse message;
  v1::TokenLogprob& logprob = *message.add_logprobs();
  logprob.set_token_id(7);
  logprob.set_logprob(-std::numeric_limits<float>::infinity());
  v1::TopToken& top = *logprob.add_top();
  top.set_token_id(9);
  top.set_logprob(-0.5f);
  const json parsed = json::parse(ToJson(message));
  EXPECT_EQ(parsed["logprobs"], json::parse(R"([{"token_id":7,"logprob":null,"top":[{"token_id":9,"logprob":-0.5}]}])"));
}

TEST(JsonOutputTest, TextWithLineBreaksAndQuotesStaysOnOneLine) {
  v1::GenerateResponse message;
  message.set_text("a\n\"b\"\t\xC3\xA9");
  const std::string line = ToJson(message);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(json::parse(line)["text"], "a\n\"b\"\t\xC3\xA9");
}

TEST(JsonOutputTest, ErrorsCarryCodeMessageAndRetry) {
  const absl::Status error = FromGrpcStatus(
      testing::StatusWithRetryInfo(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full", absl::Milliseconds(2500)));
  EXPECT_EQ(ErrorToJson(error),
            R"({"error":{"code":"RESOURCE_EXHAUSTED","message":"the queue is full","retry_after_seconds":2.5}})");
  EXPECT_EQ(ErrorToJson(absl::InternalError("bad \xFF byte")),
            "{\"error\":{\"code\":\"INTERNAL\",\"message\":\"bad \xEF\xBF\xBD byte\"}}");
}

TEST(JsonOutputTest, ModelInfoHasEveryFieldOfTheMessage) {
  v1::GetModelInfoResponse info;
  info.set_name("stories");
  v1::Expert& expert = *info.add_experts();
  expert.set_group_size(4);
  expert.set_bytes_per_token(160);
  expert.set_ratio(0.6);
  const json parsed = json::parse(ToJson(info));
  const google::protobuf::Descriptor& descriptor = *v1::GetModelInfoResponse::descriptor();
  EXPECT_EQ(parsed.size(), static_cast<size_t>(descriptor.field_count()));
  for (int i = 0; i < descriptor.field_count(); ++i) EXPECT_TRUE(parsed.contains(descriptor.field(i)->name()));
  EXPECT_EQ(parsed["experts"], json::parse(R"([{"group_size":4,"bytes_per_token":160,"ratio":0.6}])"));
}

TEST(JsonOutputTest, TokensAndText) {
  v1::TokenizeResponse tokens;
  tokens.add_ids(1);
  tokens.add_tokens("<s>");
  EXPECT_EQ(ToJson(tokens), R"({"ids":[1],"tokens":["<s>"]})");
  EXPECT_EQ(DetokenizedToJson("a\"b"), R"({"text":"a\"b"})");
}

}  // namespace
}  // namespace ration
