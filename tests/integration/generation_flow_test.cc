// How a stream flows over real gRPC: back-pressure, slow and vanished readers, cancels, deadlines, a thousand streams at once.
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/process_stats.h"
#include "tests/integration/generation_fixture.h"

namespace ration {
namespace {

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
