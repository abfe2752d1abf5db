#include "client/generation_client.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/rpc_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_generation_service.h"

namespace ration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GenerationClientTest : public ::testing::Test {
 protected:
  v1::GenerateRequest Request() {
    v1::GenerateRequest request;
    request.set_text("Hello");
    return request;
  }
  testing::FakeGenerationService service_;
  std::unique_ptr<GenerationClient> client_ = GenerationClient::Create(service_.target());
};

TEST_F(GenerationClientTest, StreamDeliversEveryMessageInOrder) {
  service_.replies = testing::StoryReplies();
  std::vector<std::string> texts;
  const absl::Status status = client_->GenerateStream(Request(), [&](const v1::GenerateResponse& message) {
    texts.push_back(message.text());
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(texts, ElementsAre("Once", " upon", " a time"));
  EXPECT_EQ(service_.generate_request.text(), "Hello");
}

TEST_F(GenerationClientTest, StreamThatFailsKeepsWhatCameBefore) {
  service_.replies = {testing::StoryReplies()[0]};
  service_.status = testing::StatusWithRetryInfo(grpc::StatusCode::RESOURCE_EXHAUSTED, "the reader was too slow",
                                                 absl::Milliseconds(1250));
  int messages = 0;
  const absl::Status status = client_->GenerateStream(Request(), [&](const v1::GenerateResponse&) {
    ++messages;
    return true;
  });
  EXPECT_EQ(messages, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "the reader was too slow");
  EXPECT_EQ(RetryDelay(status), absl::Milliseconds(1250));
  EXPECT_EQ(DescribeError(status), "RESOURCE_EXHAUSTED: the reader was too slow (try again in 1.25s)");
}

TEST_F(GenerationClientTest, StreamWithoutALastMessageIsAnError) {
  service_.replies = {testing::StoryReplies()[0]};
  const absl::Status status = client_->GenerateStream(Request(), [](const v1::GenerateResponse&) { return true; });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
}

TEST_F(GenerationClientTest, ReceiverThatWantsNoMoreCancelsOnTheServer) {
  service_.replies = {testing::StoryReplies()[0]};
  service_.hang = true;
  const absl::Status status = client_->GenerateStream(Request(), [](const v1::GenerateResponse&) { return false; });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  service_.client_gone.WaitForNotification();
}

TEST_F(GenerationClientTest, CancellationFromAnotherThreadEndsTheStreamOnTheServer) {
  service_.replies = {testing::StoryReplies()[0]};
  service_.hang = true;
  Cancellation cancellation;
  absl::Notification first;
  std::thread canceller([&] {
    first.WaitForNotification();
    EXPECT_TRUE(cancellation.Cancel());
  });
  const absl::Status status = client_->GenerateStream(
      Request(),
      [&](const v1::GenerateResponse&) {
        first.Notify();
        return true;
      },
      &cancellation);
  canceller.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(cancellation.cancelled());
  service_.client_gone.WaitForNotification();
}

TEST_F(GenerationClientTest, CancellationBeforeACallEndsItAtOnceAndSaysThatNoneWasRunning) {
  Cancellation cancellation;
  EXPECT_FALSE(cancellation.Cancel());
  EXPECT_EQ(client_->GetModelInfo(&cancellation).status().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(cancellation.Cancel());
}

TEST_F(GenerationClientTest, UnaryCallsReturnTheReply) {
  service_.replies = {testing::StoryReplies()[2]};
  const absl::StatusOr<v1::GenerateResponse> response = client_->Generate(Request());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->finish().generated_tokens(), 4);

  const absl::StatusOr<v1::TokenizeResponse> tokens = client_->Tokenize("ab", false);
  ASSERT_TRUE(tokens.ok());
  EXPECT_THAT(tokens->ids(), ElementsAre('a', 'b'));
  EXPECT_TRUE(service_.tokenize_request.has_add_special_tokens());

  const std::vector<int32_t> ids = {'h', 'i'};
  EXPECT_EQ(client_->Detokenize(ids, false).value(), "hi");
  EXPECT_FALSE(service_.detokenize_request.skip_special_tokens());

  service_.model_info.set_name("stories");
  EXPECT_EQ(client_->GetModelInfo()->name(), "stories");

  const std::vector<std::string> request_ids = {"a", "b"};
  EXPECT_TRUE(client_->Abort(request_ids).ok());
  EXPECT_THAT(service_.abort_request.request_ids(), ElementsAre("a", "b"));
}

TEST_F(GenerationClientTest, UnaryErrorsKeepCodeAndMessage) {
  service_.status = grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "sampling.top_p: must be in (0, 1], not 2");
  const absl::Status expected = absl::InvalidArgumentError("sampling.top_p: must be in (0, 1], not 2");
  EXPECT_EQ(client_->Generate(Request()).status(), expected);
  EXPECT_EQ(client_->Tokenize("a", true).status(), expected);
  EXPECT_EQ(client_->Detokenize({}, true).status(), expected);
  EXPECT_EQ(client_->GetModelInfo().status(), expected);
  EXPECT_EQ(client_->Abort({}), expected);
  EXPECT_FALSE(RetryDelay(client_->GetModelInfo().status()).has_value());
}

TEST_F(GenerationClientTest, MessagesOfManyMegabytesArrive) {
  v1::GenerateResponse large = testing::StoryReplies()[2];
  large.set_text(std::string(9 << 20, 'x'));
  service_.replies = {large};
  const absl::StatusOr<v1::GenerateResponse> response = client_->Generate(Request());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->text().size(), size_t{9} << 20);
}

TEST(GenerationClientWithoutServerTest, CallsFailAsUnavailable) {
  std::string target;
  {
    testing::FakeGenerationService gone;
    target = gone.target();
  }
  const std::unique_ptr<GenerationClient> client = GenerationClient::Create(target);
  EXPECT_EQ(client->GetModelInfo().status().code(), absl::StatusCode::kUnavailable);
}

TEST(RpcErrorTest, DetailsThatAreNotOursAreIgnored) {
  const absl::Status status = FromGrpcStatus(grpc::Status(grpc::StatusCode::INTERNAL, "oops", "not a protobuf"));
  EXPECT_EQ(status, absl::InternalError("oops"));
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  EXPECT_THAT(DescribeError(status), HasSubstr("INTERNAL: oops"));
}

}  // namespace
}  // namespace ration
