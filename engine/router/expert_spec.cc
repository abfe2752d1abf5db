#include "engine/router/expert_spec.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/quote.h"

namespace ration {

absl::StatusOr<ExpertSpec> ExpertSpec::Create(absl::Span<const int> group_sizes, int num_kv_heads) {
  const std::string given = absl::StrCat("group_sizes [", absl::StrJoin(group_sizes, ", "), "]");
  if (group_sizes.empty() || group_sizes.size() > kMaxExperts) {
    return absl::InvalidArgumentError(absl::StrCat(given, ": between 1 and ", kMaxExperts, " experts are possible"));
  }
  if (group_sizes[0] != 1) return absl::InvalidArgumentError(absl::StrCat(given, ": the first must be 1"));
  for (size_t e = 0; e < group_sizes.size(); ++e) {
    if (e > 0 && group_sizes[e] <= group_sizes[e - 1]) {
      return absl::InvalidArgumentError(absl::StrCat(given, ": must ascend strictly"));
    }
    if (num_kv_heads % group_sizes[e] != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(given, ": ", group_sizes[e], " does not divide the model's ", num_kv_heads, " key/value heads"));
    }
    if (e > 0 && group_sizes[e] % group_sizes[e - 1] != 0) {
      return absl::InvalidArgumentError(absl::StrCat(given, ": ", group_sizes[e], " is not a multiple of ",
                                                     group_sizes[e - 1], ", so cached tokens could not be regrouped"));
    }
  }
  ExpertSpec spec;
  spec.group_sizes_.assign(group_sizes.begin(), group_sizes.end());
  return spec;
}

absl::StatusOr<Ratio> Ratio::FromWeights(absl::Span<const double> weights) {
  if (weights.empty() || weights.size() > kMaxExperts) {
    return absl::InvalidArgumentError(absl::StrCat("a ratio has between 1 and ", kMaxExperts, " weights, not ", weights.size()));
  }
  double sum = 0;
  for (double w : weights) {
    if (!std::isfinite(w) || w < 0) {
      return absl::InvalidArgumentError(absl::StrCat("ratio weight ", w, " must be a finite number >= 0"));
    }
    sum += w;
  }
  if (!(sum > 0) || !std::isfinite(sum)) return absl::InvalidArgumentError("the weights of a ratio must not all be 0");
  // Cumulative rounding: the parts sum to kOne exactly and each is within one part of its share.
  Ratio ratio;
  ratio.num_experts_ = static_cast<int>(weights.size());
  double cumulative = 0;
  int64_t taken = 0;
  for (size_t e = 0; e < weights.size(); ++e) {
    cumulative += weights[e];
    const int64_t until = e + 1 == weights.size() ? kOne : std::llround(cumulative / sum * kOne);
    ratio.ppm_[e] = weights[e] == 0 ? 0 : until - taken;
    taken += ratio.ppm_[e];
  }
  // A trailing zero weight leaves a rounding rest: give it to the largest share.
  if (taken != kOne) {
    int largest = 0;
    for (int e = 1; e < ratio.num_experts_; ++e) {
      if (ratio.ppm_[e] > ratio.ppm_[largest]) largest = e;
    }
    ratio.ppm_[largest] += kOne - taken;
  }
  return ratio;
}

absl::StatusOr<Ratio> Ratio::Parse(absl::string_view text, int num_experts) {
  std::vector<double> weights;
  for (absl::string_view part : absl::StrSplit(text, ':')) {
    double weight = 0;
    if (!absl::SimpleAtod(part, &weight)) {
      return absl::InvalidArgumentError(absl::StrCat("ratio ", Quoted(text), ": ", Quoted(part),
                                                     " is not a number (write one weight an expert, e.g. 3:1:6)"));
    }
    weights.push_back(weight);
  }
  if (static_cast<int>(weights.size()) != num_experts) {
    return absl::InvalidArgumentError(absl::StrCat("ratio ", Quoted(text), " has ", weights.size(), " weights, but the model has ",
                                                   num_experts, num_experts == 1 ? " expert" : " experts"));
  }
  absl::StatusOr<Ratio> ratio = FromWeights(weights);
  if (!ratio.ok()) return absl::InvalidArgumentError(absl::StrCat("ratio ", Quoted(text), ": ", ratio.status().message()));
  return ratio;
}

Ratio Ratio::AllTo(int expert, int num_experts) {
  Ratio ratio;
  ratio.num_experts_ = num_experts;
  ratio.ppm_.fill(0);
  ratio.ppm_[expert] = kOne;
  return ratio;
}

Ratio Ratio::PrefixMax(const Ratio& a, const Ratio& b) {
  Ratio result = a;
  int64_t sum_a = 0, sum_b = 0, before = 0;
  for (int e = 0; e < a.num_experts_; ++e) {
    sum_a += a.ppm_[e];
    sum_b += b.ppm_[e];
    result.ppm_[e] = std::max(sum_a, sum_b) - before;
    before = std::max(sum_a, sum_b);
  }
  return result;
}

double Ratio::KvFraction(const ExpertSpec& spec) const {
  double fraction = 0;
  for (int e = 0; e < num_experts_; ++e) fraction += share(e) / spec.group_size(e);
  return fraction;
}

std::string Ratio::ToString() const {
  std::string text;
  for (int e = 0; e < num_experts_; ++e) absl::StrAppend(&text, e > 0 ? ":" : "", absl::StrFormat("%.4g", share(e)));
  return text;
}

bool Ratio::operator==(const Ratio& other) const {
  if (num_experts_ != other.num_experts_) return false;
  for (int e = 0; e < num_experts_; ++e) {
    if (ppm_[e] != other.ppm_[e]) return false;
  }
  return true;
}

}  // namespace ration
