// Generate and GenerateStream over the real gRPC stack with a puppet for an engine: order, coalescing, back-pressure, cancel,
// deadlines, aborts, and every way a request can end.
#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/retry_hint.h"
#include "proto/google/rpc/status.pb.h"
#include "server/process_stats.h"
#include "tests/integration/puppet_server.h"

namespace ration {
namespace {

using ::testing::HasSubstr;

// A deadline that passes during the test, though not before a request has reached the engine on a machine that is busy.
constexpr absl::Duration kSoon = absl::Seconds(2);

GenerationDelta FirstPiece(int64_t prompt_tokens) {
  GenerationDelta delta;
  PromptInfo& info = delta.prompt.emplace();
  info.prompt_tokens = prompt_tokens;
  info.seed = 77;
  info.ratio_epoch = 1;
  return delta;
}

FinishInfo EndedBy(FinishReason reason) {
  FinishInfo finish;
  finish.reason = reason;
  finish.prompt_tokens = 3;
  finish.generated_tokens = 2;
  finish.kv.peak_kv_bytes = 4096;
  finish.kv.prompt_tokens_per_expert = {2, 1};
  return finish;
}

std::optional<double> RetrySeconds(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  if (!details.ParseFromString(status.error_details()) || details.details_size() != 1) return std::nullopt;
  if (details.code() != status.error_code() || details.message() != status.error_message()) return std::nullopt;
  if (!details.details(0).UnpackTo(&retry)) return std::nullopt;
  return retry.retry_delay().seconds() + retry.retry_delay().nanos() * 1e-9;
}

// A stream read by a thread of its own.
class BackgroundStream {
 public:
  BackgroundStream(v1::Generation::Stub& stub, v1::GenerateRequest request)
      : thread_([this, &stub, request = std::move(request)] { result_ = ReadStream(stub, request, &call_); }) {}
  ~BackgroundStream() {
    if (thread_.joinable()) thread_.join();
  }
  const StreamResult& Join() {
    thread_.join();
    return result_;
  }
  void Cancel() { call_.TryCancel(); }

 private:
  grpc::ClientContext call_;
  StreamResult result_;
  std::thread thread_;
};

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

TEST(GenerateStream, PausesOnlyTheSequenceWhoseClientDoesNotReadAndResumesItWhenItDoes) {
  PuppetServer server;
  server.puppet().StartAutopilot(std::string(8 << 10, 'x'));
  grpc::ClientContext lazy_call;
  auto lazy = v1::Generation::NewStub(server.NewChannel())->GenerateStream(&lazy_call, SimpleRequest("lazy", 200));
  ASSERT_TRUE(server.puppet().WaitUntilPaused("lazy"));

  for (int i = 0; i < 5; ++i) {  // others come and go meanwhile
    const StreamResult other = ReadStream(server.stub(), SimpleRequest(absl::StrCat("other", i), 50));
    EXPECT_TRUE(other.status.ok());
    EXPECT_EQ(other.num_tokens(), 50);
  }
  EXPECT_TRUE(server.puppet().WaitUntilPaused("lazy"));

  v1::GenerateResponse message;
  int64_t tokens = 0, bytes = 0, largest = 0;
  while (lazy->Read(&message)) {
    tokens += message.token_ids_size();
    bytes += static_cast<int64_t>(message.text().size());
    largest = std::max(largest, static_cast<int64_t>(message.text().size()));
  }
  EXPECT_TRUE(lazy->Finish().ok());
  EXPECT_EQ(tokens, 200);  // nothing was lost while it waited
  EXPECT_EQ(bytes, 200 * (8 << 10));
  EXPECT_GT(largest, 8 << 10) << "pieces that waited should travel together";
  EXPECT_LT(largest, 128 << 10) << "what waits is bounded";
}

TEST(GenerateStream, EndsAReaderThatIsTooSlowWithResourceExhausted) {
  PuppetServer server;
  server.puppet().StartAutopilot(std::string(8 << 10, 'x'));
  grpc::ClientContext call;
  auto reader = server.stub().GenerateStream(&call, SimpleRequest("slow", 1000));
  ASSERT_TRUE(server.puppet().WaitUntilPaused("slow"));
  server.puppet().Finish("slow", EndedBy(FinishReason::kSlowReader));
  ASSERT_TRUE(server.puppet().WaitUntilGone("slow"));
  v1::GenerateResponse message;
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(GenerateStream, CutsOffAClientThatLeavesTheEndUnread) {
  PuppetServer::Options options;
  options.slow_reader_timeout = absl::Milliseconds(200);
  PuppetServer server(options);
  server.puppet().StartAutopilot(std::string(8 << 10, 'x'));
  grpc::ClientContext call;
  auto reader = server.stub().GenerateStream(&call, SimpleRequest("slow", 1000));
  ASSERT_TRUE(server.puppet().WaitUntilPaused("slow"));
  server.puppet().Finish("slow", EndedBy(FinishReason::kLength));
  ASSERT_TRUE(server.puppet().WaitUntilGone("slow"));
  server.Destroy();  // would wait for the call until the flush time is over if the call were still open
  v1::GenerateResponse message;
  while (reader->Read(&message)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
}

TEST(GenerateStream, AbortsInTheEngineWhenTheClientCancels) {
  PuppetServer server;
  BackgroundStream stream(server.stub(), SimpleRequest("a"));
  ASSERT_TRUE(server.puppet().WaitForRequest("a"));
  server.puppet().EmitText("a", "hello");
  stream.Cancel();
  EXPECT_TRUE(server.puppet().WaitUntilGone("a"));
  EXPECT_EQ(server.puppet().EndOf("a"), FinishReason::kAborted);
  EXPECT_EQ(stream.Join().status.error_code(), grpc::StatusCode::CANCELLED);
}

TEST(GenerateStream, AbortsInTheEngineWhenTheConnectionIsGone) {
  PuppetServer server;
  server.puppet().StartAutopilot(std::string(8 << 10, 'x'));
  {
    grpc::ClientContext call;
    auto channel = server.NewChannel();
    auto reader = v1::Generation::NewStub(channel)->GenerateStream(&call, SimpleRequest("gone", 1000));
    ASSERT_TRUE(server.puppet().WaitUntilPaused("gone"));
    call.TryCancel();
    reader->Finish();
  }
  EXPECT_TRUE(server.puppet().WaitUntilGone("gone"));
  EXPECT_EQ(server.puppet().EndOf("gone"), FinishReason::kAborted);
}

TEST(GenerateStream, HandsTheCallsDeadlineToTheEngineAndAbortsWhenItPasses) {
  PuppetServer server;
  grpc::ClientContext call;
  call.set_deadline(absl::ToChronoTime(absl::Now() + kSoon));
  const StreamResult result = ReadStream(server.stub(), SimpleRequest("late"), &call);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  const std::optional<GenerationRequest> seen = server.puppet().WaitForRequest("late");
  ASSERT_TRUE(seen.has_value());
  EXPECT_LE(seen->deadline, Clock::Real()->Now() + kSoon);
  EXPECT_TRUE(server.puppet().WaitUntilGone("late"));
}

TEST(GenerateStream, TakesTheEarlierOfDeadlineAndTimeLimit) {
  PuppetServer server;
  v1::GenerateRequest request = SimpleRequest("limited");
  request.set_time_limit_ms(5000);
  grpc::ClientContext call;
  call.set_deadline(absl::ToChronoTime(absl::Now() + absl::Hours(1)));
  auto reader = server.stub().GenerateStream(&call, request);
  const std::optional<GenerationRequest> seen = server.puppet().WaitForRequest("limited");
  ASSERT_TRUE(seen.has_value());
  EXPECT_LE(seen->deadline, Clock::Real()->Now() + absl::Seconds(5));
  EXPECT_GT(seen->deadline, Clock::Real()->Now() - absl::Seconds(5));
  call.TryCancel();
  reader->Finish();
}

struct EndCase {
  FinishReason reason;
  grpc::StatusCode code;
};

class GenerateEnds : public ::testing::TestWithParam<EndCase> {};

TEST_P(GenerateEnds, WithTheStatusOfTheReasonAfterWhatWasGenerated) {
  PuppetServer server;
  BackgroundStream stream(server.stub(), SimpleRequest("a"));
  ASSERT_TRUE(server.puppet().WaitForRequest("a"));
  server.puppet().EmitText("a", "partial");
  FinishInfo finish = EndedBy(GetParam().reason);
  if (finish.reason == FinishReason::kError) finish.status = absl::InternalError("the step failed");
  server.puppet().Finish("a", finish);
  const StreamResult& result = stream.Join();
  EXPECT_EQ(result.status.error_code(), GetParam().code);
  EXPECT_FALSE(result.status.error_message().empty());
  EXPECT_EQ(result.text(), "partial");
  for (const v1::GenerateResponse& message : result.messages) EXPECT_FALSE(message.has_finish());
}

TEST_P(GenerateEnds, WithTheSameStatusInAUnaryCall) {
  PuppetServer server;
  grpc::Status status;
  std::thread client([&] {
    grpc::ClientContext call;
    v1::GenerateResponse response;
    status = server.stub().Generate(&call, SimpleRequest("u"), &response);
  });
  ASSERT_TRUE(server.puppet().WaitForRequest("u"));
  FinishInfo finish = EndedBy(GetParam().reason);
  if (finish.reason == FinishReason::kError) finish.status = absl::InternalError("the step failed");
  server.puppet().Finish("u", finish);
  client.join();
  EXPECT_EQ(status.error_code(), GetParam().code);
}

INSTANTIATE_TEST_SUITE_P(EveryReason, GenerateEnds,
                         ::testing::Values(EndCase{FinishReason::kAborted, grpc::StatusCode::CANCELLED},
                                           EndCase{FinishReason::kDeadline, grpc::StatusCode::DEADLINE_EXCEEDED},
                                           EndCase{FinishReason::kShutdown, grpc::StatusCode::UNAVAILABLE},
                                           EndCase{FinishReason::kError, grpc::StatusCode::INTERNAL}));

TEST(Generate, CollectsEverythingIntoOneResponse) {
  PuppetServer server;
  server.puppet().StartAutopilot("ab");
  grpc::ClientContext call;
  v1::GenerateResponse response;
  const grpc::Status status = server.stub().Generate(&call, SimpleRequest("u", 20), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.request_id(), "u");
  EXPECT_EQ(response.text().size(), 40u);
  EXPECT_EQ(response.token_ids_size(), 20);
  EXPECT_EQ(response.prompt_info().prompt_tokens(), 3);
  EXPECT_EQ(response.finish().generated_tokens(), 20);
}

TEST(Generate, AbortsInTheEngineWhenTheDeadlinePasses) {
  PuppetServer server;
  grpc::ClientContext call;
  call.set_deadline(absl::ToChronoTime(absl::Now() + kSoon));
  v1::GenerateResponse response;
  const grpc::Status status = server.stub().Generate(&call, SimpleRequest("u"), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(server.puppet().WaitUntilGone("u"));
}

TEST(Abort, EndsStreamsWithCancelledAndIgnoresUnknownIds) {
  PuppetServer server;
  BackgroundStream first(server.stub(), SimpleRequest("first"));
  BackgroundStream second(server.stub(), SimpleRequest("second"));
  ASSERT_TRUE(server.puppet().WaitForRequest("first"));
  ASSERT_TRUE(server.puppet().WaitForRequest("second"));
  v1::AbortRequest request;
  request.add_request_ids("first");
  request.add_request_ids("never heard of");
  for (int i = 0; i < 2; ++i) {  // idempotent
    grpc::ClientContext call;
    v1::AbortResponse response;
    EXPECT_TRUE(server.stub().Abort(&call, request, &response).ok());
  }
  EXPECT_EQ(first.Join().status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(server.puppet().num_live(), 1);
  server.puppet().Finish("second", EndedBy(FinishReason::kStop));
  EXPECT_TRUE(second.Join().status.ok());
}

TEST(Rejection, OfTheEngineReachesTheClientWithItsRetryHint) {
  PuppetServer server;
  server.puppet().RejectWith(WithRetryHint(absl::ResourceExhaustedError("the queue is full"), absl::Milliseconds(1500)));
  StreamResult result = ReadStream(server.stub(), SimpleRequest("a"));
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(result.status.error_message(), "the queue is full");
  EXPECT_EQ(RetrySeconds(result.status), 1.5);

  server.puppet().RejectWith(absl::ResourceExhaustedError("it can never fit"));
  result = ReadStream(server.stub(), SimpleRequest("b"));
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(RetrySeconds(result.status), std::nullopt) << "waiting does not help here";

  server.puppet().RejectWith(absl::OkStatus());
  BackgroundStream live(server.stub(), SimpleRequest("c"));
  ASSERT_TRUE(server.puppet().WaitForRequest("c"));
  EXPECT_EQ(ReadStream(server.stub(), SimpleRequest("c")).status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  server.puppet().Finish("c", EndedBy(FinishReason::kStop));  // the first one is untouched
  EXPECT_TRUE(live.Join().status.ok());
}

TEST(Rejection, AtTheFrontDoorComesBeforeAnyWorkAndItsPlaceComesBack) {
  PuppetServer::Options options;
  options.max_live_requests = 2;
  PuppetServer server(options);
  BackgroundStream first(server.stub(), SimpleRequest("1"));
  BackgroundStream second(server.stub(), SimpleRequest("2"));
  ASSERT_TRUE(server.puppet().WaitForRequest("1"));
  ASSERT_TRUE(server.puppet().WaitForRequest("2"));
  v1::GenerateRequest invalid = SimpleRequest("3");
  invalid.mutable_sampling()->set_top_p(7);  // not even looked at
  const StreamResult refused = ReadStream(server.stub(), invalid);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(RetrySeconds(refused.status).has_value());
  EXPECT_EQ(server.puppet().num_submitted(), 2);
  server.puppet().Finish("1", EndedBy(FinishReason::kStop));
  EXPECT_TRUE(first.Join().status.ok());
  // An invalid request takes no place for longer than it takes to say so.
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(ReadStream(server.stub(), invalid).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  BackgroundStream fourth(server.stub(), SimpleRequest("4"));
  ASSERT_TRUE(server.puppet().WaitForRequest("4"));
  for (const char* id : {"2", "4"}) server.puppet().Finish(id, EndedBy(FinishReason::kStop));
  EXPECT_TRUE(second.Join().status.ok());
  EXPECT_TRUE(fourth.Join().status.ok());
}

// Reads a stream on gRPC's own threads.
class AsyncStream : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  AsyncStream(v1::Generation::Stub& stub, v1::GenerateRequest request, std::atomic<int>* left)
      : request_(std::move(request)), left_(left) {
    stub.async()->GenerateStream(&call_, &request_, this);
    StartRead(&message_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    tokens += message_.token_ids_size();
    StartRead(&message_);
  }
  void OnDone(const grpc::Status& done) override {
    status = done;
    left_->fetch_sub(1);
  }

  int64_t tokens = 0;
  grpc::Status status;

 private:
  grpc::ClientContext call_;
  v1::GenerateRequest request_;
  v1::GenerateResponse message_;
  std::atomic<int>* const left_;
};

TEST(GenerateStream, HoldsAThousandOpenStreamsWithoutAThreadEach) {
  constexpr int kStreams = 1000;
  PuppetServer server;
  std::atomic<int> left{kStreams};
  std::vector<std::unique_ptr<AsyncStream>> streams;
  for (int i = 0; i < kStreams; ++i) {
    streams.push_back(std::make_unique<AsyncStream>(server.stub(), SimpleRequest(absl::StrCat("s", i), 3), &left));
  }
  for (int i = 0; i < kStreams; ++i) ASSERT_TRUE(server.puppet().WaitForRequest(absl::StrCat("s", i)));
  EXPECT_EQ(server.puppet().num_live(), kStreams);
  EXPECT_LT(ReadProcessStats().threads, 64);
  server.puppet().StartAutopilot("x");
  while (left.load() > 0) absl::SleepFor(absl::Milliseconds(1));
  for (const auto& stream : streams) {
    EXPECT_TRUE(stream->status.ok()) << stream->status.error_message();
    EXPECT_EQ(stream->tokens, 3);
  }
}

}  // namespace
}  // namespace ration
