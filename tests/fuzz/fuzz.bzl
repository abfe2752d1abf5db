"""One source with LLVMFuzzerTestOneInput, two programs: a fuzzer and a test that replays the kept corpus."""

def fuzz_target(name, srcs, deps = [], dict = None):
    """Defines NAME_fuzzer (libFuzzer, clang, only with --config=fuzz) and NAME_replay_test (any compiler, part of the tests).

    The corpus is every file in corpus/NAME, which must hold at least one. To fuzz for five minutes, keeping what is found:

        bazel build --config=fuzz //tests/fuzz:NAME_fuzzer
        bazel-bin/tests/fuzz/NAME_fuzzer -max_total_time=300 -dict=tests/fuzz/NAME.dict NEW_DIRECTORY tests/fuzz/corpus/NAME
        bazel-bin/tests/fuzz/NAME_fuzzer -set_cover_merge=1 -use_counters=0 SMALL_DIRECTORY NEW_DIRECTORY tests/fuzz/corpus/NAME

    The last line keeps a small set that covers as much; a file kept for a bug that it found is named regress_WHAT.

    Args:
      name: of the format; also of its folder under corpus/.
      srcs: the source with LLVMFuzzerTestOneInput.
      deps: what it needs.
      dict: a libFuzzer dictionary, for people who run the fuzzer.
    """
    native.cc_binary(
        name = name + "_fuzzer",
        testonly = True,
        srcs = srcs,
        data = [dict] if dict else [],
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["manual"],
        deps = deps,
    )
    native.cc_test(
        name = name + "_replay_test",
        size = "small",
        srcs = srcs,
        args = ["tests/fuzz/corpus/" + name],
        data = native.glob(["corpus/%s/**" % name]),
        deps = deps + ["//tests/fuzz:corpus_replay"],
    )
