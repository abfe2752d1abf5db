// The prompts' token ids: drawn from the whole vocabulary, or pieces of a text.
// Layer: client/bench. Thread-compatible.
#ifndef RATION_CLIENT_BENCH_PROMPT_SOURCE_H_
#define RATION_CLIENT_BENCH_PROMPT_SOURCE_H_

#include <cstdint>
#include <random>
#include <vector>

#include "proto/generation.pb.h"

namespace ration {

class PromptSource {
 public:
  // Random ids in [0, vocab_size). REQUIRES: vocab_size >= 1.
  PromptSource(int64_t vocab_size, uint64_t seed);
  // Pieces of `text_ids`, each from a random place; a prompt that reaches the end goes on at the beginning.
  // REQUIRES: text_ids is not empty.
  PromptSource(std::vector<int32_t> text_ids, uint64_t seed);

  // Appends `count` ids.
  void Fill(int64_t count, v1::TokenIds& ids);

 private:
  std::vector<int32_t> text_ids_;
  int32_t vocab_size_ = 1;
  std::mt19937_64 random_;
};

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_PROMPT_SOURCE_H_
