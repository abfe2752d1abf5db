// Training text as one long stream of token ids, cut into sequences.
// Layer: tools/train. Thread-compatible.
#ifndef RATION_TOOLS_TRAIN_TOKEN_BATCHES_H_
#define RATION_TOOLS_TRAIN_TOKEN_BATCHES_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/tokenizer.h"

namespace ration {

struct TextSplit {
  at::Tensor train;       // [N] int64: documents one after another, each opened by the BOS that the tokenizer gives it
  at::Tensor validation;  // [V] int64: the documents after those, to choose settings by and to calibrate on
  at::Tensor held_out;    // [M] int64: the last documents, for reported results only
};

// Cuts `text` at every line or part "<|endoftext|>", strips white space, encodes. validation, held_out: shares of the
// documents, >= 0, sum <= 1. InvalidArgument if there is no document or a share is out of range, or as
// Tokenizer::Encode.
absl::StatusOr<TextSplit> SplitAndEncode(absl::string_view text, const Tokenizer& tokenizer, double validation,
                                         double held_out);

// Sequences of length + 1 tokens (inputs and their shifted targets), none twice in an epoch.
class TokenBatches {
 public:
  // Cut out of a stream, each epoch at a new offset. REQUIRES: stream.numel() > 2 * length + 1, length > 0.
  TokenBatches(at::Tensor stream, int64_t length, uint64_t seed);
  // The rows of [n, length + 1] int64, in a new order each epoch. REQUIRES: n > 0, length > 0.
  TokenBatches(const at::Tensor& rows, uint64_t seed);

  // [count, length + 1] int64, on the stream's device.
  at::Tensor Next(int64_t count);
  double epochs() const;

 private:
  void Shuffle();

  const at::Tensor stream_;
  const int64_t length_;
  const int64_t stride_;  // from one sequence's start to the next's: length_ in a stream, length_ + 1 in rows
  std::mt19937_64 random_;
  std::vector<int64_t> starts_;
  size_t next_ = 0;
  int64_t taken_ = 0;
};

// All whole sequences of length + 1 tokens, in order, not overlapping in their targets: [n, length + 1]; at most
// `limit` of them if limit > 0.
at::Tensor Consecutive(const at::Tensor& stream, int64_t length, int64_t limit);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_TOKEN_BATCHES_H_
