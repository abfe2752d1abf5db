// Every way a request can end or be refused, in a stream and in a unary call, and what the client is told.
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "engine/base/retry_hint.h"
#include "tests/integration/generation_fixture.h"

namespace ration {
namespace {

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
  EXPECT_TRUE(server.puppet().WaitUntilGone("first"));  // the client may hear of it first
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

}  // namespace
}  // namespace ration
