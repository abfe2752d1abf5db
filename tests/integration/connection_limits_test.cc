// What bounds a connection: how many there are, how many calls one has, how long it may take to begin and may stay idle, how large a
// message may be. On plain sockets where gRPC's client would hide it.
#include "server/connection_limits.h"

#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "server/connection_acceptor.h"
#include "tests/integration/puppet_server.h"
#include "tests/testing/captured_log.h"

namespace ration {
namespace {

using ::testing::HasSubstr;

// A client's HTTP/2 preface and empty SETTINGS frame.
const std::string kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);

class Socket {
 public:
  explicit Socket(int port) : fd_(ConnectSocket(port)) { EXPECT_GE(fd_, 0); }
  ~Socket() { close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void Send(const std::string& bytes) const { send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  std::string Read(size_t count) const {
    std::string bytes(count, '\0');
    const ssize_t got = recv(fd_, &bytes[0], count, MSG_WAITALL);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }
  // Waits until the server has closed the connection.
  void ReadToTheEnd() const {
    char buffer[1024];
    while (recv(fd_, buffer, sizeof(buffer), 0) > 0) {
    }
  }
  // Whether the server has taken the connection (it then sends its SETTINGS) or closed it.
  bool IsServed() const {
    Send(kPreface);
    return !Read(9).empty();
  }

 private:
  const int fd_;
};

TEST(Connections, BeyondTheLimitAreClosedAtOnceAndEndsMakeRoom) {
  CapturedLog log;
  {
    PuppetServer::Options options;
    options.connections.max_connections = 3;
    options.with_metrics = true;
    PuppetServer server(options);
    const int port = server.server().port();
    std::vector<std::unique_ptr<Socket>> sockets;
    for (int i = 0; i < 3; ++i) {
      sockets.push_back(std::make_unique<Socket>(port));
      EXPECT_TRUE(sockets.back()->IsServed()) << i;
    }
    for (int i = 0; i < 20; ++i) EXPECT_FALSE(Socket(port).IsServed());
    EXPECT_TRUE(Socket(server.server().control_port()).IsServed()) << "operators still get in";
    const std::string metrics = HttpGet(server.server().metrics_port(), "/metrics");
    EXPECT_THAT(metrics, HasSubstr("\nration_connections_refused_total{port=\"generation\"} 20\n"));
    EXPECT_THAT(metrics, HasSubstr("\nration_connections_refused_total{port=\"control\"} 0\n"));
    for (int round = 0; round < 20; ++round) {
      sockets.pop_back();
      do {  // until the end was noticed
        sockets.push_back(std::make_unique<Socket>(port));
        if (sockets.back()->IsServed()) break;
        sockets.pop_back();
      } while (true);
      ASSERT_EQ(sockets.size(), 3u);
    }
    EXPECT_FALSE(Socket(port).IsServed()) << "no connection was counted out twice";
  }
  EXPECT_THAT(log.text(), HasSubstr("3 connections to --listen are open, the most there may be: refused 1 so far"));
}

// Left by either side, before, in and after a handshake.
TEST(Connections, AreCountedOutHoweverTheyEnd) {
  PuppetServer::Options options;
  options.connections.max_connections = 2;
  options.connections.handshake_timeout = absl::Milliseconds(100);
  PuppetServer server(options);
  const int port = server.server().port();
  for (int i = 0; i < 10; ++i) {
    Socket silent(port);
    silent.ReadToTheEnd();  // the server's handshake timeout
    Socket garbage(port);
    garbage.Send("GET / HTTP/1.0\r\n\r\n");
    garbage.ReadToTheEnd();
    Socket{port}.Send(kPreface);
  }
  while (!Socket(port).IsServed()) absl::SleepFor(absl::Milliseconds(1));
}

TEST(Connections, HaveLittleTimeForTheirHandshake) {
  PuppetServer::Options options;
  options.connections.handshake_timeout = absl::Milliseconds(50);
  PuppetServer server(options);
  Socket(server.server().port()).ReadToTheEnd();
  Socket(server.server().control_port()).ReadToTheEnd();
}

TEST(Connections, AreClosedWhenTheyAreIdle) {
  PuppetServer::Options options;
  options.connections.max_idle = absl::Milliseconds(50);
  PuppetServer server(options);
  Socket socket(server.server().port());
  EXPECT_TRUE(socket.IsServed());
  socket.ReadToTheEnd();
}

TEST(Connections, AnnounceHowManyCallsTheyTake) {
  PuppetServer::Options options;
  options.connections.max_streams_per_connection = 7;
  PuppetServer server(options);
  for (const int port : {server.server().port(), server.server().control_port()}) {
    Socket socket(port);
    socket.Send(kPreface);
    const std::string header = socket.Read(9);  // length, type 4 (SETTINGS), flags, stream 0
    ASSERT_EQ(header.size(), 9u);
    ASSERT_EQ(header[3], 4);
    const std::string settings = socket.Read(static_cast<unsigned char>(header[2]));
    EXPECT_THAT(settings, HasSubstr(std::string("\0\3\0\0\0\7", 6))) << "MAX_CONCURRENT_STREAMS";
  }
}

TEST(Messages, ThatAreTooLargeForAPortAreRefused) {
  PuppetServer server;
  const std::string large((64 << 10) + 1, 'x');
  EXPECT_EQ(CallWithBytes(server.control_channel(), "/ration.v1.Control/GetState", large).first.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  const std::string larger((64 << 10) + (1 << 20) + 1, 'x');
  EXPECT_EQ(CallWithBytes(server.channel(), "/ration.v1.Generation/Tokenize", larger).first.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(AffordableConnections, LeavesDescriptorsForTheRest) {
  EXPECT_EQ(AffordableConnections(4096, 1 << 20).value(), 4096);
  EXPECT_EQ(AffordableConnections(4096, 4096).value(), (4096 - 128) / 2 - 256);
  EXPECT_EQ(AffordableConnections(4096, 1024).value(), (1024 - 128) / 2 / 2) << "as many as on the control port";
  EXPECT_EQ(AffordableConnections(10, 1024).value(), 10);
  EXPECT_EQ(AffordableConnections(4096, 256).value(), 32);
  EXPECT_THAT(std::string(AffordableConnections(4096, 130).status().message()), HasSubstr("ulimit -n"));
}

}  // namespace
}  // namespace ration
