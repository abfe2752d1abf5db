#include "tools/train/token_batches.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace ration {

absl::StatusOr<TextSplit> SplitAndEncode(absl::string_view text, const Tokenizer& tokenizer, double validation,
                                         double held_out) {
  if (!(validation >= 0 && held_out >= 0 && validation + held_out <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("validation ", validation, " and held-out ", held_out,
                                                   ": shares of the documents must be >= 0 and at most 1 together"));
  }
  std::vector<absl::string_view> documents;
  for (absl::string_view part : absl::StrSplit(text, "<|endoftext|>")) {
    part = absl::StripAsciiWhitespace(part);
    if (!part.empty()) documents.push_back(part);
  }
  if (documents.empty()) return absl::InvalidArgumentError("the text has no documents");
  const double count = static_cast<double>(documents.size());
  const size_t first_held_out = documents.size() - std::min(documents.size(), static_cast<size_t>(held_out * count));
  const size_t first_validation = first_held_out - std::min(first_held_out, static_cast<size_t>(validation * count));
  std::vector<int64_t> train, between, last;
  for (size_t i = 0; i < documents.size(); ++i) {
    RATION_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                            tokenizer.Encode(documents[i], /*add_special_tokens=*/true));
    std::vector<int64_t>& into = i < first_validation ? train : i < first_held_out ? between : last;
    into.insert(into.end(), ids.begin(), ids.end());
  }
  return TextSplit{at::tensor(train, at::kLong), at::tensor(between, at::kLong), at::tensor(last, at::kLong)};
}

TokenBatches::TokenBatches(at::Tensor stream, int64_t length, uint64_t seed)
    : stream_(std::move(stream)), length_(length), stride_(length), random_(seed) {
  RATION_CHECK(length_ > 0 && stream_.numel() > 2 * length_ + 1);
  Shuffle();
}

TokenBatches::TokenBatches(const at::Tensor& rows, uint64_t seed)
    : stream_(rows.flatten()), length_(rows.size(1) - 1), stride_(rows.size(1)), random_(seed) {
  RATION_CHECK(length_ > 0 && rows.size(0) > 0);
  Shuffle();
}

void TokenBatches::Shuffle() {
  starts_.clear();
  next_ = 0;
  const int64_t first = stride_ == length_ ? static_cast<int64_t>(random_() % length_) : 0;
  for (int64_t at = first; at + length_ + 1 <= stream_.numel(); at += stride_) starts_.push_back(at);
  std::shuffle(starts_.begin(), starts_.end(), random_);
}

at::Tensor TokenBatches::Next(int64_t count) {
  at::Tensor starts = at::empty({count}, at::kLong);
  for (int64_t i = 0; i < count; ++i) {
    if (next_ == starts_.size()) Shuffle();
    starts.data_ptr<int64_t>()[i] = starts_[next_++];
  }
  taken_ += count;
  starts = starts.to(stream_.device(), at::kLong, /*non_blocking=*/true);
  return stream_.unfold(0, length_ + 1, 1).index_select(0, starts);
}

double TokenBatches::epochs() const {
  return static_cast<double>(taken_ * length_) / static_cast<double>(stream_.numel());
}

at::Tensor Consecutive(const at::Tensor& stream, int64_t length, int64_t limit) {
  std::vector<at::Tensor> rows;
  for (int64_t at = 0; at + length + 1 <= stream.numel(); at += length) {
    if (limit > 0 && static_cast<int64_t>(rows.size()) == limit) break;
    rows.push_back(stream.narrow(0, at, length + 1));
  }
  return rows.empty() ? at::empty({0, length + 1}, at::kLong) : at::stack(rows);
}

}  // namespace ration
