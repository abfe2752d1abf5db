// Vector operations without intrinsics: four floats in the compiler's generic vectors. The policy of the portable code path,
// and the smallest description of what a policy is.
// Layer: kernels/cpu (private). Unnamed namespace: each file that includes a policy is compiled for its own instruction set.
//
// A policy has: Vec (kLanes floats), Zero, Set1, Load, Store, MulAdd(a, b, c) = a * b + c, Max, Min, Exp2,
// FirstLanes(x, n, other) = lanes below n of x, the rest of other; ReduceMax, ReduceSum (fixed order); LoadN, StoreN (first n
// lanes, the rest zero / untouched; n above kLanes means all); RoundBF16(x), StoreBF16N (rounded to nearest even); and LoadBF16N.
#ifndef RATION_KERNELS_CPU_SIMD_PORTABLE_H_
#define RATION_KERNELS_CPU_SIMD_PORTABLE_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/dtype.h"

namespace ration::kernels::cpu {
namespace {

struct PortableSimd {
  typedef float Vec __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;

  static Vec Zero() { return Vec{0, 0, 0, 0}; }
  static Vec Set1(float x) { return Vec{x, x, x, x}; }
  static Vec Load(const float* p) {
    Vec v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static void Store(float* p, Vec v) { std::memcpy(p, &v, sizeof(v)); }
  static Vec LoadN(const float* p, int n) {
    Vec v = Zero();
    for (int i = 0; i < n && i < kLanes; ++i) v[i] = p[i];
    return v;
  }
  static void StoreN(float* p, Vec v, int n) {
    for (int i = 0; i < n && i < kLanes; ++i) p[i] = v[i];
  }
  static Vec LoadBF16N(const uint16_t* p, int n) {
    Vec v = Zero();
    for (int i = 0; i < n && i < kLanes; ++i) v[i] = FromBF16(p[i]);
    return v;
  }
  static void StoreBF16N(uint16_t* p, Vec v, int n) {
    for (int i = 0; i < n && i < kLanes; ++i) p[i] = ToBF16(v[i]);
  }
  static Vec RoundBF16(Vec v) {
    for (int i = 0; i < kLanes; ++i) v[i] = FromBF16(ToBF16(v[i]));
    return v;
  }
  static Vec MulAdd(Vec a, Vec b, Vec c) { return a * b + c; }
  static Vec Max(Vec a, Vec b) { return a > b ? a : b; }
  static Vec Min(Vec a, Vec b) { return a < b ? a : b; }
  static Vec Exp2(Vec x) {
    for (int i = 0; i < kLanes; ++i) x[i] = std::exp2(x[i]);
    return x;
  }
  static Vec FirstLanes(Vec x, int n, Vec other) {
    for (int i = n < 0 ? 0 : n; i < kLanes; ++i) x[i] = other[i];
    return x;
  }
  static float ReduceMax(Vec v) {
    const float a = v[0] > v[1] ? v[0] : v[1];
    const float b = v[2] > v[3] ? v[2] : v[3];
    return a > b ? a : b;
  }
  static float ReduceSum(Vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }
};

}  // namespace
}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_SIMD_PORTABLE_H_
