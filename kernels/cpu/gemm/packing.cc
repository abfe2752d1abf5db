// Packs a checkpoint's weights into panels, straight from the mapped file: no second full copy in memory.
// Layer: kernels/cpu/gemm. Pure functions.
#include <cstdint>
#include <cstring>

#include "kernels/gemm.h"

namespace ration::kernels::cpu {
namespace {

// k elements converted at a time: 32 columns of it are 8 KiB of float32, which stay in the first-level cache.
constexpr int64_t kStrip = 64;

float FromF16(uint16_t half) {
  // Shifts the exponent and mantissa into place and rescales by 2^112, which also handles denormals; Inf and NaN are
  // patched.
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fffu) << 13;
  float value;
  std::memcpy(&value, &magnitude, sizeof(value));
  value *= 0x1p112f;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (magnitude >= 0x0f800000u) bits = magnitude | 0x7f800000u;
  bits |= sign;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// The checkpoint may align its tensors badly: all loads go through memcpy.
void ToFloats(const uint8_t* source, SourceType type, int64_t begin, int64_t count, float* out) {
  switch (type) {
    case SourceType::kF32:
      std::memcpy(out, source + begin * 4, count * 4);
      return;
    case SourceType::kBF16:
      for (int64_t i = 0; i < count; ++i) {
        uint16_t value;
        std::memcpy(&value, source + (begin + i) * 2, 2);
        out[i] = FromBF16(value);
      }
      return;
    case SourceType::kF16:
      for (int64_t i = 0; i < count; ++i) {
        uint16_t value;
        std::memcpy(&value, source + (begin + i) * 2, 2);
        out[i] = FromF16(value);
      }
      return;
  }
}

void ToBF16s(const uint8_t* source, SourceType type, int64_t begin, int64_t count, uint16_t* out) {
  if (type == SourceType::kBF16) {
    std::memcpy(out, source + begin * 2, count * 2);
    return;
  }
  float floats[kStrip];
  ToFloats(source, type, begin, count, floats);
  for (int64_t i = 0; i < count; ++i) out[i] = ToBF16(floats[i]);
}

}  // namespace

void PackPanel(const PanelSource& source, int64_t in, DType dtype, uint8_t* panel) {
  const int64_t padded = PaddedIn(in, dtype);
  for (int64_t begin = 0; begin < padded; begin += kStrip) {
    const int64_t depth = padded - begin < kStrip ? padded - begin : kStrip;
    const int64_t stored = in - begin < depth ? in - begin : depth;
    if (dtype == DType::kF32) {
      float strip[kPanelColumns][kStrip] = {};
      for (int64_t c = 0; c < kPanelColumns; ++c) {
        if (source.columns[c] == nullptr) continue;
        ToFloats(static_cast<const uint8_t*>(source.columns[c]), source.types[c], begin, stored, strip[c]);
      }
      float* out = reinterpret_cast<float*>(panel) + begin * kPanelColumns;
      for (int64_t k = 0; k < depth; ++k) {
        for (int64_t c = 0; c < kPanelColumns; ++c) out[k * kPanelColumns + c] = strip[c][k];
      }
    } else {
      uint16_t strip[kPanelColumns][kStrip] = {};
      for (int64_t c = 0; c < kPanelColumns; ++c) {
        if (source.columns[c] == nullptr) continue;
        ToBF16s(static_cast<const uint8_t*>(source.columns[c]), source.types[c], begin, stored, strip[c]);
      }
      uint8_t* out = panel + begin * kPanelColumns * 2;
      for (int64_t pair = 0; pair < depth / 2; ++pair) {
        for (int64_t c = 0; c < kPanelColumns; ++c)
          std::memcpy(out + (pair * kPanelColumns + c) * 4, &strip[c][pair * 2], 4);
      }
    }
  }
}

}  // namespace ration::kernels::cpu
