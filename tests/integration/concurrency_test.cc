// The whole server with a real engine and a tiny random model under many clients at once, some of which cancel, abort or never
// read: everyone else gets the tokens they would have got alone, and every page comes back.
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "proto/generation.grpc.pb.h"
#include "server/model_host.h"
#include "server/server.h"
#include "server/server_options.h"
#include "tests/integration/generation_fixture.h"
#include "tests/integration/puppet_server.h"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

// Reads a stream on gRPC's own threads; may cancel it after some tokens, or never read at all.
class AsyncStream : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  struct Manner {
    int64_t cancel_after = -1;  // tokens; -1: never
    bool reads = true;
  };
  AsyncStream(v1::Generation::Stub& stub, v1::GenerateRequest request, Manner manner, std::atomic<int>* left)
      : request_(std::move(request)), manner_(manner), left_(left) {
    stub.async()->GenerateStream(&call_, &request_, this);
    if (manner_.reads) {
      StartRead(&message_);
    } else {
      AddHold();
    }
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    tokens.insert(tokens.end(), message_.token_ids().begin(), message_.token_ids().end());
    if (manner_.cancel_after >= 0 && static_cast<int64_t>(tokens.size()) >= manner_.cancel_after) call_.TryCancel();
    StartRead(&message_);
  }
  void OnDone(const grpc::Status& done) override {
    status = done;
    left_->fetch_sub(1);
  }
  void Cancel() {
    call_.TryCancel();
    if (!manner_.reads) RemoveHold();
  }

  std::vector<int32_t> tokens;  // read it when the call is done
  grpc::Status status;

 private:
  grpc::ClientContext call_;
  v1::GenerateRequest request_;
  v1::GenerateResponse message_;
  const Manner manner_;
  std::atomic<int>* const left_;
};

void WaitForZero(const std::atomic<int>& left) {
  while (left.load() > 0) absl::SleepFor(absl::Milliseconds(1));
}

class ConcurrencyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    v1::ServerConfig flags;
    flags.set_model(checkpoint_.directory());
    flags.set_listen("127.0.0.1:0");
    flags.set_metrics_listen("");
    flags.set_control_listen("");
    flags.set_kv_budget("2MiB");  // far less than 200 such requests need at once
    flags.set_policy("static");   // the same tokens as alone are promised at a fixed ratio only
    flags.set_threads(2);
    flags.set_max_running_requests(64);
    flags.set_log_level("warning");
    Adapt(&flags);
    const auto options = ParseOptions(flags);
    ASSERT_TRUE(options.ok()) << options.status();
    auto model = LoadServedModel(*options);
    ASSERT_TRUE(model.ok()) << model.status();
    auto server = Server::Start(options->server, *std::move(model));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::Generation::NewStub(NewChannel());
  }

  virtual void Adapt(v1::ServerConfig* flags) { static_cast<void>(flags); }

  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  // Every third greedy, the others sampled with a seed; prompts from one token to several routing windows.
  v1::GenerateRequest MakeRequest(int index, const std::string& id_prefix) {
    std::mt19937 random(static_cast<uint32_t>(index));
    v1::GenerateRequest request;
    request.set_request_id(absl::StrCat(id_prefix, index));
    for (uint32_t length = 1 + random() % 70; length > 0; --length) {
      request.mutable_token_ids()->add_ids(static_cast<int32_t>(random() % 384));
    }
    request.mutable_stopping()->set_max_new_tokens(10 + random() % 40);
    request.mutable_stopping()->set_ignore_eos(true);
    request.mutable_sampling()->set_seed(random());
    if (index % 3 == 0) request.mutable_sampling()->set_temperature(0);
    return request;
  }

  // Waits until the engine is empty, then checks that it holds nothing any more.
  void ExpectEverythingReturned() {
    EngineStats stats = server_->Stats();
    for (int i = 0; i < 1000 && stats.requests_running + stats.requests_waiting + stats.kv_reserved_bytes > 0; ++i) {
      absl::SleepFor(absl::Milliseconds(10));
      stats = server_->Stats();
    }
    EXPECT_EQ(stats.kv_used_bytes, 0);
    EXPECT_EQ(stats.kv_reserved_bytes, 0);
    EXPECT_EQ(stats.requests_running, 0);
    EXPECT_EQ(stats.requests_waiting, 0);
  }

  static TinyCheckpointOptions LongContext() {
    TinyCheckpointOptions options;
    options.max_positions = 65536;
    return options;
  }

  TinyCheckpoint checkpoint_{LongContext()};
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::Generation::Stub> stub_;
};

TEST_F(ConcurrencyTest, TwoHundredStreamsWithCancelsAndADeafReaderGiveTheTokensOfEachAlone) {
  constexpr int kStreams = 200;
  std::vector<std::vector<int32_t>> alone(kStreams);
  for (int i = 0; i < kStreams; ++i) {
    v1::GenerateResponse response;
    grpc::ClientContext call;
    const grpc::Status status = stub_->Generate(&call, MakeRequest(i, "alone"), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    alone[i].assign(response.token_ids().begin(), response.token_ids().end());
    ASSERT_EQ(static_cast<int64_t>(alone[i].size()), MakeRequest(i, "").stopping().max_new_tokens());
  }

  std::atomic<int> left{kStreams};
  std::atomic<int> deaf_left{1};
  auto deaf_stub = v1::Generation::NewStub(NewChannel());
  v1::GenerateRequest endless = SimpleRequest("deaf", 2000);
  endless.mutable_stopping()->set_ignore_eos(true);
  endless.mutable_response()->set_top_logprobs(20);  // so that its buffers fill soon
  AsyncStream deaf(*deaf_stub, endless, {-1, /*reads=*/false}, &deaf_left);

  std::mt19937 random(4711);
  std::vector<std::unique_ptr<v1::Generation::Stub>> stubs;
  for (int i = 0; i < 4; ++i) stubs.push_back(v1::Generation::NewStub(NewChannel()));
  std::vector<std::unique_ptr<AsyncStream>> streams;
  std::vector<bool> cancels(kStreams);
  for (int i = 0; i < kStreams; ++i) {
    AsyncStream::Manner manner;
    cancels[i] = random() % 4 == 0;
    if (cancels[i]) manner.cancel_after = random() % 8;
    streams.push_back(std::make_unique<AsyncStream>(*stubs[i % stubs.size()], MakeRequest(i, "together"), manner, &left));
  }
  WaitForZero(left);
  for (int i = 0; i < kStreams; ++i) {
    if (cancels[i]) {
      ASSERT_LE(streams[i]->tokens.size(), alone[i].size());
      EXPECT_TRUE(std::equal(streams[i]->tokens.begin(), streams[i]->tokens.end(), alone[i].begin())) << "stream " << i;
    } else {
      EXPECT_TRUE(streams[i]->status.ok()) << streams[i]->status.error_message();
      EXPECT_EQ(streams[i]->tokens, alone[i]) << "stream " << i;
    }
  }
  EXPECT_EQ(deaf_left.load(), 1) << "the deaf reader's stream should still be open";
  deaf.Cancel();
  WaitForZero(deaf_left);
  ExpectEverythingReturned();
}

TEST_F(ConcurrencyTest, AStormOfAbortsReturnsEveryPageAndHurtsNobodyElse) {
  constexpr int kStreams = 120;
  std::atomic<int> left{kStreams};
  std::vector<std::unique_ptr<AsyncStream>> streams;
  for (int i = 0; i < kStreams; ++i) {
    streams.push_back(std::make_unique<AsyncStream>(*stub_, MakeRequest(i, "storm"), AsyncStream::Manner(), &left));
  }
  std::thread aborter([&] {
    std::mt19937 random(3);
    while (left.load() > 0) {
      v1::AbortRequest request;
      for (int k = 0; k < 4; ++k) request.add_request_ids(absl::StrCat("storm", 2 * (random() % (kStreams / 2))));  // even ones
      v1::AbortResponse response;
      grpc::ClientContext call;
      stub_->Abort(&call, request, &response);
    }
  });
  aborter.join();
  WaitForZero(left);
  for (int i = 0; i < kStreams; ++i) {
    const grpc::Status& status = streams[i]->status;
    if (i % 2 == 1) {
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(static_cast<int64_t>(streams[i]->tokens.size()), MakeRequest(i, "").stopping().max_new_tokens());
    } else {
      EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED) << status.error_message();
    }
  }
  ExpectEverythingReturned();
}

TEST_F(ConcurrencyTest, ARequestThatCanNeverFitIsRefusedWithBytesNeededAndBytesThereAre) {
  v1::GenerateRequest request = MakeRequest(0, "huge");
  request.mutable_stopping()->set_max_new_tokens(60000);
  const StreamResult result = ReadStream(*stub_, request);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(result.status.error_message().find("the budget is 2.00 MiB"), std::string::npos) << result.status.error_message();
  EXPECT_EQ(result.status.error_details(), "") << "waiting would not help";
}

class FullQueueTest : public ConcurrencyTest {
 protected:
  void Adapt(v1::ServerConfig* flags) override {
    flags->set_kv_budget("256MiB");
    flags->set_max_running_requests(2);
    flags->set_max_queued_requests(4);
  }
};

TEST_F(FullQueueTest, TellsAClientToComeBackNeitherAtOnceNorInMinutes) {
  // Six that stay, because nobody reads their streams and they are longer than what is buffered. Two must run before the others
  // come.
  std::atomic<int> left{6};
  std::vector<std::unique_ptr<AsyncStream>> streams;
  AsyncStream::Manner deaf;
  deaf.reads = false;
  EngineStats stats;
  for (int i = 0; i < 6; ++i) {
    v1::GenerateRequest request = MakeRequest(i, "stays");
    request.mutable_stopping()->set_max_new_tokens(30000);
    streams.push_back(std::make_unique<AsyncStream>(*stub_, request, deaf, &left));
    for (int k = 0; k < 1000 && stats.requests_running + stats.requests_waiting <= i; ++k) {
      absl::SleepFor(absl::Milliseconds(10));
      stats = server_->Stats();
    }
  }
  EXPECT_EQ(stats.requests_running, 2);
  EXPECT_EQ(stats.requests_waiting, 4);
  for (int i = 0; i < 3; ++i) {
    grpc::ClientContext call;
    call.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    const StreamResult refused = ReadStream(*stub_, MakeRequest(i, "refused"), &call);
    EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << refused.status.error_message();
    EXPECT_GE(RetrySeconds(refused.status).value_or(0), 0.1);
    EXPECT_LE(RetrySeconds(refused.status).value_or(0), 60);
  }
  for (std::unique_ptr<AsyncStream>& stream : streams) stream->Cancel();
  WaitForZero(left);
  ExpectEverythingReturned();
  EXPECT_TRUE(ReadStream(*stub_, MakeRequest(0, "later")).status.ok());
}

}  // namespace
}  // namespace ration
