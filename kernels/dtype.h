// Element types of the KV cache and of matrix inputs, and the bfloat16 conversions every kernel shares.
// Layer: kernels (plain data; depends on nothing of ours).
#ifndef RATION_KERNELS_DTYPE_H_
#define RATION_KERNELS_DTYPE_H_

#include <cstdint>
#include <cstring>

namespace ration::kernels {

enum class DType : uint8_t { kF32, kBF16 };

constexpr int64_t SizeOf(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }
constexpr const char* Name(DType dtype) { return dtype == DType::kF32 ? "float32" : "bfloat16"; }

// The upper half of an IEEE float32, rounded to nearest even; a NaN stays a (quiet) NaN.
inline uint16_t ToBF16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x0040u);
  bits += 0x7fffu + ((bits >> 16) & 1u);
  return static_cast<uint16_t>(bits >> 16);
}

inline float FromBF16(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

}  // namespace ration::kernels

#endif  // RATION_KERNELS_DTYPE_H_
