// Crash-only: a server that was killed in the middle of its work leaves nothing that a start has to clean up by hand, and its clients
// learn at once, with a status that tells them to try again.
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/integration/puppet_server.h"
#include "tests/integration/rationd_process.h"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

TEST(RationdCrash, KilledUnderAStreamItServesAgainOnTheSamePort) {
  const TinyCheckpoint checkpoint;
  const std::string port_file = absl::StrCat(::testing::TempDir(), "/crash_ports_", getpid());
  auto first = Rationd::Serving(checkpoint.directory(), {"--max_running_requests=4"});
  const std::string address = absl::StrCat("127.0.0.1:", first->port());
  grpc::ClientContext call;
  auto reader = first->stub().GenerateStream(&call, LongRequest(4000));
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));

  first->Signal(SIGKILL);
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE) << "clients may try again";
  EXPECT_EQ(first->Wait(), -1);

  // What a run that dies at the worst moment leaves: another run's ports, and half of a file.
  std::ofstream(port_file) << "1\n2\n3\n4\n";
  std::ofstream(port_file + ".tmp") << "1\n2";
  Rationd second({"--model=" + checkpoint.directory(), "--listen=" + address, "--metrics_listen=", "--control_listen=", "--threads=1",
                  "--kv_budget=4MiB", "--port_file=" + port_file});
  // The first server's clients find the second one by themselves.
  while (HealthOf(first->channel(), "ration.v1.Generation") != "SERVING" && second.IsRunning()) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  const StreamResult result = ReadStream(first->stub(), LongRequest(20));
  EXPECT_TRUE(result.status.ok()) << result.status.error_message() << second.output();
  EXPECT_EQ(result.num_tokens(), 20);
  while (ReadFile(port_file) == "1\n2\n3\n4\n" && second.IsRunning()) absl::SleepFor(absl::Milliseconds(5));
  second.Signal(SIGTERM);
  EXPECT_EQ(second.Wait(), 0) << second.output();
  EXPECT_EQ(ReadFile(port_file), absl::StrCat(first->port(), "\n0\n0\n0\n"));
}

}  // namespace
}  // namespace ration
