// What GenerateStream carries over real gRPC, with a puppet for an engine: order, coalescing, every field of request and response.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "tests/integration/generation_fixture.h"

namespace ration {
namespace {

TEST(GenerateStream, SendsPromptInfoFirstPiecesInOrderAndFinishLast) {
  PuppetServer server;
  BackgroundStream stream(server.stub(), SimpleRequest("a"));
  ASSERT_TRUE(server.puppet().WaitForRequest("a"));
  server.puppet().Emit("a", FirstPiece(3));
  for (const char* text : {"Once", " upon", " a", " time"}) server.puppet().EmitText("a", text);
  server.puppet().Finish("a", EndedBy(FinishReason::kLength));
  const StreamResult& result = stream.Join();
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.text(), "Once upon a time");
  EXPECT_EQ(result.num_tokens(), 4);
  ASSERT_FALSE(result.messages.empty());
  for (size_t i = 0; i < result.messages.size(); ++i) {
    EXPECT_EQ(result.messages[i].request_id(), "a");
    EXPECT_EQ(result.messages[i].has_prompt_info(), i == 0);
    EXPECT_EQ(result.messages[i].has_finish(), i + 1 == result.messages.size());
  }
  EXPECT_EQ(result.messages.front().prompt_info().seed(), 77u);
  const v1::Finish& finish = result.messages.back().finish();
  EXPECT_EQ(finish.reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(finish.kv().peak_bytes(), 4096);
  EXPECT_THAT(finish.kv().prompt_tokens_per_expert(), ::testing::ElementsAre(2, 1));
}

TEST(GenerateStream, SendsAPieceWithoutWaitingForTheNext) {
  PuppetServer server;
  grpc::ClientContext call;
  auto reader = server.stub().GenerateStream(&call, SimpleRequest("a"));
  ASSERT_TRUE(server.puppet().WaitForRequest("a"));
  v1::GenerateResponse message;
  for (const char* text : {"one", "two", "three"}) {
    server.puppet().EmitText("a", text);
    ASSERT_TRUE(reader->Read(&message));
    EXPECT_EQ(message.text(), text);
  }
  server.puppet().Finish("a", EndedBy(FinishReason::kStop));
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.finish().reason(), v1::FINISH_REASON_STOP);
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST(GenerateStream, ChoosesARequestIdWhenThereIsNone) {
  PuppetServer server;
  server.puppet().StartAutopilot("x");
  const StreamResult first = ReadStream(server.stub(), SimpleRequest("", 2));
  const StreamResult second = ReadStream(server.stub(), SimpleRequest("", 2));
  ASSERT_FALSE(first.messages.empty());
  ASSERT_FALSE(second.messages.empty());
  EXPECT_EQ(first.messages[0].request_id().size(), 32u);
  EXPECT_NE(first.messages[0].request_id(), second.messages[0].request_id());
}

TEST(GenerateStream, EchoesThePromptFromTextAndFromIds) {
  PuppetServer server;
  server.puppet().StartAutopilot("x");
  v1::GenerateRequest request = SimpleRequest("text", 1);
  request.set_text("he was the");
  request.mutable_response()->set_echo_prompt(true);
  StreamResult result = ReadStream(server.stub(), request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.messages[0].prompt_info().text(), "he was the");

  const std::vector<int32_t> ids = server.tokenizer().Encode("he was the", true).value();
  request.set_request_id("ids");
  request.mutable_token_ids()->mutable_ids()->Assign(ids.begin(), ids.end());
  result = ReadStream(server.stub(), request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.messages[0].prompt_info().text(), "he was the");
}

TEST(GenerateStream, HandsTheEngineEveryFieldOfTheRequest) {
  PuppetServer server;
  v1::GenerateRequest request = SimpleRequest("full", 9);
  v1::Sampling& sampling = *request.mutable_sampling();
  sampling.set_temperature(0);
  sampling.set_top_k(7);
  sampling.set_top_p(0.5f);
  sampling.set_min_p(0.25f);
  sampling.set_repetition_penalty(1.5f);
  sampling.set_presence_penalty(-1);
  sampling.set_frequency_penalty(2);
  (*sampling.mutable_logit_bias())[9] = 1.5f;
  (*sampling.mutable_logit_bias())[3] = -100;
  sampling.set_seed(0);
  v1::Stopping& stopping = *request.mutable_stopping();
  stopping.set_min_new_tokens(4);
  stopping.add_stop_token_ids(11);
  stopping.add_stop_strings("the end");
  stopping.set_include_stop_string(true);
  stopping.set_ignore_eos(true);
  request.mutable_response()->set_top_logprobs(0);
  request.mutable_response()->set_keep_special_tokens(true);
  BackgroundStream stream(server.stub(), request);
  const std::optional<GenerationRequest> seen = server.puppet().WaitForRequest("full");
  server.puppet().Finish("full", EndedBy(FinishReason::kLength));
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->prompt_tokens, (std::vector<int32_t>{1, 5, 9}));
  EXPECT_EQ(seen->sampling.temperature, 0);
  EXPECT_EQ(seen->sampling.top_k, 7);
  EXPECT_EQ(seen->sampling.top_p, 0.5f);
  EXPECT_EQ(seen->sampling.min_p, 0.25f);
  EXPECT_EQ(seen->sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(seen->sampling.presence_penalty, -1);
  EXPECT_EQ(seen->sampling.frequency_penalty, 2);
  EXPECT_EQ(seen->sampling.logit_bias, (std::vector<std::pair<int32_t, float>>{{3, -100}, {9, 1.5f}}));
  EXPECT_EQ(seen->sampling.seed, std::optional<uint64_t>(0));  // zero is a seed, not its absence
  EXPECT_EQ(seen->stopping.max_new_tokens, 9);
  EXPECT_EQ(seen->stopping.min_new_tokens, 4);
  EXPECT_EQ(seen->stopping.stop_token_ids, (std::vector<int32_t>{11}));
  EXPECT_EQ(seen->stopping.stop_strings, (std::vector<std::string>{"the end"}));
  EXPECT_TRUE(seen->stopping.include_stop_string);
  EXPECT_TRUE(seen->stopping.ignore_eos);
  EXPECT_EQ(seen->response.top_logprobs, std::optional<int32_t>(0));
  EXPECT_FALSE(seen->response.skip_special_tokens);
  EXPECT_EQ(seen->deadline, absl::InfiniteFuture());
}

TEST(GenerateStream, FillsInTheDefaultsOfAbsentFields) {
  PuppetServer server;
  v1::GenerateRequest request;
  request.set_request_id("short");
  request.mutable_token_ids()->add_ids(1);
  BackgroundStream short_stream(server.stub(), request);
  const std::optional<GenerationRequest> seen = server.puppet().WaitForRequest("short");
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->sampling.temperature, 1);
  EXPECT_EQ(seen->sampling.top_p, 1);
  EXPECT_EQ(seen->sampling.repetition_penalty, 1);
  EXPECT_EQ(seen->sampling.seed, std::nullopt);
  EXPECT_EQ(seen->stopping.max_new_tokens, 128);
  EXPECT_EQ(seen->stopping.min_new_tokens, 0);
  EXPECT_EQ(seen->response.top_logprobs, std::nullopt);
  EXPECT_TRUE(seen->response.skip_special_tokens);
  server.puppet().Finish("short", EndedBy(FinishReason::kLength));

  request.set_request_id("long");  // leaves room for fewer than 128 tokens
  for (int64_t i = 1; i < kPuppetContext - 50; ++i) request.mutable_token_ids()->add_ids(1);
  BackgroundStream long_stream(server.stub(), request);
  const std::optional<GenerationRequest> seen_long = server.puppet().WaitForRequest("long");
  ASSERT_TRUE(seen_long.has_value());
  EXPECT_EQ(seen_long->stopping.max_new_tokens, 50);
  server.puppet().Finish("long", EndedBy(FinishReason::kLength));
}

TEST(GenerateStream, SendsLogprobs) {
  PuppetServer server;
  BackgroundStream stream(server.stub(), SimpleRequest("a"));
  ASSERT_TRUE(server.puppet().WaitForRequest("a"));
  GenerationDelta delta;
  delta.token_ids = {8};
  delta.logprobs.push_back({8, -0.5f, {{8, -0.5f}, {2, -1.5f}}});
  server.puppet().Emit("a", delta);
  server.puppet().Finish("a", EndedBy(FinishReason::kLength));
  const StreamResult& result = stream.Join();
  ASSERT_EQ(result.messages[0].logprobs_size(), 1);
  EXPECT_EQ(result.messages[0].logprobs(0).token_id(), 8);
  EXPECT_EQ(result.messages[0].logprobs(0).logprob(), -0.5f);
  ASSERT_EQ(result.messages[0].logprobs(0).top_size(), 2);
  EXPECT_EQ(result.messages[0].logprobs(0).top(1).token_id(), 2);
}

}  // namespace
}  // namespace ration
