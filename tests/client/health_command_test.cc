// rationctl health against a health service that answers what a test tells it to.
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"

namespace ration {
namespace {

namespace health = grpc::health::v1;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FakeHealth final : public health::Health::Service {
 public:
  FakeHealth() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    target = absl::StrCat("127.0.0.1:", port);
  }
  grpc::Status Check(grpc::ServerContext*, const health::HealthCheckRequest* request, health::HealthCheckResponse* response) override {
    asked_for = request->service();
    response->set_status(answer);
    return status;
  }

  std::string target, asked_for = "nothing";
  health::HealthCheckResponse::ServingStatus answer = health::HealthCheckResponse::SERVING;
  grpc::Status status;

 private:
  std::unique_ptr<grpc::Server> server_;
};

class HealthCommandTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> flags) {
    Console console;
    console.in = &in_;
    console.out = &out_;
    console.err = &err_;
    flags.insert(flags.begin(), {"health", "--server=" + health_.target});
    return RunRationctl(flags, console, &cancellation_);
  }

  FakeHealth health_;
  std::istringstream in_;
  std::ostringstream out_, err_;
  Cancellation cancellation_;
};

TEST_F(HealthCommandTest, ServingIsStatusZero) {
  EXPECT_EQ(Run({}), kExitOk);
  EXPECT_EQ(out_.str(), "SERVING\n");
  EXPECT_EQ(health_.asked_for, "");
}

TEST_F(HealthCommandTest, NotServingIsStatusOne) {
  health_.answer = health::HealthCheckResponse::NOT_SERVING;
  EXPECT_EQ(Run({"--service=ration.v1.Generation", "--json"}), kExitRpcError);
  EXPECT_EQ(out_.str(), "{\"status\":\"NOT_SERVING\"}\n");
  EXPECT_EQ(health_.asked_for, "ration.v1.Generation");
}

TEST_F(HealthCommandTest, AnUnknownServiceIsAnError) {
  health_.status = grpc::Status(grpc::StatusCode::NOT_FOUND, "no such service");
  EXPECT_EQ(Run({"--service=other"}), kExitRpcError);
  EXPECT_THAT(out_.str(), IsEmpty());
  EXPECT_THAT(err_.str(), HasSubstr("no such service"));
}

TEST_F(HealthCommandTest, ATimeoutMustBePositive) {
  EXPECT_EQ(Run({"--timeout=0s"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--timeout: must be above 0, not 0"));
  EXPECT_EQ(health_.asked_for, "nothing");
}

}  // namespace
}  // namespace ration
