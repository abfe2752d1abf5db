// What the thread sanitiser is not to report where gRPC runs: the system's gRPC, OpenSSL, protobuf and abseil are not instrumented, so
// it does not see how they order their own accesses, nor the calls they make to us. Races between threads of our own (the engine's,
// the delivery thread, the test's) are still reported. Compiled in, as a test's sandbox holds no file to read them from.
#if defined(RATION_TSAN)
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:libgrpc.so\n"
         "race:libgrpc++.so\n"
         "race:libgpr.so\n"
         "race:libcrypto.so\n"
         "race:libssl.so\n"
         "race:libprotobuf.so\n"
         "race:libabsl_\n"
         "race:grpc::\n"
         // Its other references are dropped in the library, unseen.
         "race:absl::debian3::Status::Unref\n";
}
#endif
