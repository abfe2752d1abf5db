"""Compiler options of kernel files that are compiled for one instruction set."""

# No contraction: a multiply-add is fused where the code says so, in every copy of a template alike.
# GCC 12's own AVX-512 headers use variables before they are set.
KERNEL_COPTS = [
    "-O3",
    "-ffp-contract=off",
    "-Wno-uninitialized",
    "-Wno-maybe-uninitialized",
]

AVX2_COPTS = [
    "-mavx2",
    "-mfma",
]

AVX512_COPTS = AVX2_COPTS + [
    "-mavx512f",
    "-mavx512bw",
    "-mavx512dq",
    "-mavx512vl",
]
