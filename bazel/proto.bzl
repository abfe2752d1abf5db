"""C++ code from .proto files with the system's protoc and gRPC plugin."""

def ration_cc_proto(name, srcs, visibility = None):
    """A cc_library with the messages and gRPC services of `srcs` (files of this package).

    Args:
      name: the library's name.
      srcs: .proto files.
      visibility: of the library.
    """
    outs = []
    for src in srcs:
        stem = src[:-len(".proto")]
        outs += [stem + suffix for suffix in [".pb.h", ".pb.cc", ".grpc.pb.h", ".grpc.pb.cc"]]
    native.genrule(
        name = name + "_gen",
        srcs = srcs,
        outs = outs,
        cmd = "/usr/bin/protoc -I. --cpp_out=$(GENDIR) --grpc_out=$(GENDIR) " +
              "--plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin $(SRCS)",
    )
    native.cc_library(
        name = name,
        srcs = [o for o in outs if o.endswith(".cc")],
        hdrs = [o for o in outs if o.endswith(".h")],
        visibility = visibility,
        deps = ["@system//:grpc"],
    )
