// The pieces of decoder layers that model families share, written for reading: RMS norm, and attention over
// materialised scores. Layer: tools/train. Pure functions, differentiable; thread-safe.
#ifndef RATION_TOOLS_TRAIN_DECODER_MATH_H_
#define RATION_TOOLS_TRAIN_DECODER_MATH_H_

#include <ATen/ATen.h>

#include <cstdint>

namespace ration {

// x / rms(x) * scale over the last dimension, eps inside the root.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& scale, double eps);

// cap * tanh(x / cap): nearly x when small, never beyond the cap. A cap of 0 leaves x as it is.
at::Tensor SoftCap(const at::Tensor& x, double cap);

struct AttentionRule {
  double scale = 0;    // of q·k; 0: 1 / sqrt(d)
  double softcap = 0;  // of the scaled scores, before the mask; 0: none
  int64_t window = 0;  // query i sees keys j with 0 <= i - j < window; 0: all of the past
};

// Attention as the textbook writes it. q: [B, T, H_q, d], k and v: [B, T, H, d]; query head h reads key/value head
// floor(h * H / H_q). Returns [B, T, H_q, d].
at::Tensor PlainAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const AttentionRule& rule = AttentionRule());

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_DECODER_MATH_H_
