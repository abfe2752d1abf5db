// What the experts of a model are (ExpertSpec) and how tokens are shared among them (Ratio).
// Layer: engine/router. Value types; immutable once made.
#ifndef RATION_ENGINE_ROUTER_EXPERT_SPEC_H_
#define RATION_ENGINE_ROUTER_EXPERT_SPEC_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace ration {

inline constexpr int kMaxExperts = 8;  // equals kernels::kMaxExperts; kv_cache_spec.cc asserts it

// The group size of each expert: expert e keeps num_kv_heads / group_size(e) heads of K and V.
class ExpertSpec {
 public:
  // One expert that keeps every head: a plain checkpoint.
  ExpertSpec() : group_sizes_{1} {}

  // group_sizes: strictly ascending divisors of num_kv_heads, starting at 1, at most kMaxExperts of them.
  // InvalidArgument names the offending entry and the rule.
  static absl::StatusOr<ExpertSpec> Create(absl::Span<const int> group_sizes, int num_kv_heads);

  int num_experts() const { return static_cast<int>(group_sizes_.size()); }
  int group_size(int expert) const { return group_sizes_[expert]; }
  const std::vector<int>& group_sizes() const { return group_sizes_; }

  bool operator==(const ExpertSpec& other) const { return group_sizes_ == other.group_sizes_; }

 private:
  std::vector<int> group_sizes_;
};

// The share of tokens each expert is given. Held as integers in parts per million that sum to exactly one million, so that
// quotas are exact and equality means equality.
class Ratio {
 public:
  static constexpr int64_t kOne = 1000000;

  // Everything to expert 0 of one expert.
  Ratio() : num_experts_(1) { ppm_[0] = kOne; }

  // "3:1:6": one non-negative decimal weight an expert, not all zero. InvalidArgument quotes the text and says what is wrong.
  static absl::StatusOr<Ratio> Parse(absl::string_view text, int num_experts);
  // Weights as numbers; the same rules.
  static absl::StatusOr<Ratio> FromWeights(absl::Span<const double> weights);
  // All tokens to one expert. REQUIRES: 0 <= expert < num_experts <= kMaxExperts.
  static Ratio AllTo(int expert, int num_experts);

  int num_experts() const { return num_experts_; }
  int64_t ppm(int expert) const { return ppm_[expert]; }
  double share(int expert) const { return static_cast<double>(ppm_[expert]) / kOne; }

  // The cheapest ratio that gives no experts 0..j together less than either: the larger of the two sums of shares for every j.
  // REQUIRES: the same number of experts.
  static Ratio PrefixMax(const Ratio& a, const Ratio& b);

  // f(rho) = sum of share(e) / group_size(e): KV bytes against full KV, in (0, 1].
  double KvFraction(const ExpertSpec& spec) const;

  // Shares with up to four significant decimals, e.g. "0.3:0.1:0.6".
  std::string ToString() const;

  bool operator==(const Ratio& other) const;
  bool operator!=(const Ratio& other) const { return !(*this == other); }

 private:
  int num_experts_;
  std::array<int64_t, kMaxExperts> ppm_{};
};

}  // namespace ration

#endif  // RATION_ENGINE_ROUTER_EXPERT_SPEC_H_
