// Rotary position embeddings with every frequency scaling that Hugging Face's Llama knows, but YaRN and LongRoPE.
// Layer: tools/train. Pure functions; thread-safe.
#ifndef RATION_TOOLS_TRAIN_ROPE_H_
#define RATION_TOOLS_TRAIN_ROPE_H_

#include <ATen/ATen.h>

#include <cstdint>

namespace ration {

struct RopeRule {
  enum class Type {
    kPlain,
    kLinear,   // positions are divided by `factor`
    kDynamic,  // "NTK aware": the base grows with the length once it exceeds `original_positions`
    kLlama3,   // long wavelengths are stretched by `factor`, short ones kept, those between blended
  };
  Type type = Type::kPlain;
  double theta = 10000;
  double factor = 1;
  double low_freq_factor = 1;         // kLlama3
  double high_freq_factor = 4;        // kLlama3
  int64_t original_positions = 8192;  // kLlama3: the context before it was extended; kDynamic: max_position_embeddings
};

// Rotation angles [length, head_dim / 2] (float32) for positions 0..length-1 of one sequence of `length` tokens. With
// kDynamic all positions take the base of the whole length, as where a model sees the sequence at once; a server that
// caches rotated keys, with a length that grows, agrees with this up to original_positions tokens, where it is kPlain.
at::Tensor RopeAngles(const RopeRule& rule, int64_t head_dim, int64_t length);

// Turns the pairs (i, i + d/2), as Hugging Face lays the heads out. x: [B, T, H, d]; angles: [T, d/2].
at::Tensor Rotate(const at::Tensor& x, const at::Tensor& angles);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_ROPE_H_
