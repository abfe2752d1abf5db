#include "server/response_conversion.h"

#include <gtest/gtest.h>

#include "engine/base/retry_hint.h"
#include "proto/google/rpc/status.pb.h"
#include "server/status_util.h"

namespace ration {
namespace {

TEST(AppendDelta, JoinsPiecesIntoOneMessage) {
  v1::GenerateResponse response;
  EXPECT_FALSE(HasContent(response));
  GenerationDelta first;
  first.prompt.emplace().seed = 9;
  first.text = "ab";
  first.token_ids = {1, 2};
  AppendDelta(first, &response);
  GenerationDelta second;
  second.text = "c";
  second.token_ids = {3};
  second.logprobs.push_back({3, -1.0f, {}});
  FinishInfo& finish = second.finish.emplace();
  finish.reason = FinishReason::kStop;
  finish.stop_string = "the end";
  finish.generated_tokens = 3;
  finish.queue_time = absl::Milliseconds(500);
  finish.kv.ratio_epochs = {1, 2};
  AppendDelta(second, &response);
  EXPECT_TRUE(HasContent(response));
  EXPECT_EQ(response.text(), "abc");
  EXPECT_EQ(response.token_ids_size(), 3);
  EXPECT_EQ(response.logprobs_size(), 1);
  EXPECT_EQ(response.prompt_info().seed(), 9u);
  EXPECT_EQ(response.finish().stop_string(), "the end");
  EXPECT_EQ(response.finish().stopped_by_case(), v1::Finish::kStopString);
  EXPECT_EQ(response.finish().queue_seconds(), 0.5);
  EXPECT_EQ(response.finish().kv().ratio_epochs_size(), 2);
}

TEST(AppendDelta, LeavesAnEndThatIsAnErrorToTheStatus) {
  v1::GenerateResponse response;
  GenerationDelta delta;
  delta.finish.emplace().reason = FinishReason::kDeadline;
  AppendDelta(delta, &response);
  EXPECT_FALSE(HasContent(response));
}

TEST(FinishStatus, KeepsTheEnginesWords) {
  FinishInfo finish;
  finish.reason = FinishReason::kShutdown;
  finish.status = absl::UnavailableError("bye");
  EXPECT_EQ(FinishStatus(finish), absl::UnavailableError("bye"));
  finish.reason = FinishReason::kError;
  finish.status = absl::OkStatus();
  EXPECT_EQ(FinishStatus(finish).code(), absl::StatusCode::kInternal);
}

TEST(ToGrpcStatus, KeepsCodeAndMessage) {
  for (int code = 0; code <= 16; ++code) {
    const grpc::Status status = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "words"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), code == 0 ? "" : "words");
    EXPECT_EQ(status.error_details(), "");
  }
}

TEST(ToGrpcStatus, SendsARetryHintAsRetryInfo) {
  const grpc::Status status = ToGrpcStatus(WithRetryHint(absl::ResourceExhaustedError("full"), absl::Milliseconds(2250)));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), 8);
  EXPECT_EQ(details.message(), "full");
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.RetryInfo");
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 2);
  EXPECT_EQ(retry.retry_delay().nanos(), 250000000);
}

}  // namespace
}  // namespace ration
