#include "engine/model/untrained_routing.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

constexpr int kLargestThirdGroup = 4;

}  // namespace

absl::StatusOr<UntrainedRouting> ParseUntrainedRouting(absl::string_view text) {
  UntrainedRouting routing;
  absl::string_view rest = text;
  if (text == "none") return routing;
  if (text == "recency") {
    routing.kind = UntrainedRouting::Kind::kRecency;
    return routing;
  }
  if (absl::ConsumePrefix(&rest, "static:") && absl::SimpleAtoi(rest, &routing.group_size) && routing.group_size > 1) {
    routing.kind = UntrainedRouting::Kind::kStatic;
    return routing;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("must be none, recency or static:GROUP_SIZE with a group size above 1, not ", Quoted(text)));
}

std::string ToString(const UntrainedRouting& routing) {
  switch (routing.kind) {
    case UntrainedRouting::Kind::kNone:
      break;
    case UntrainedRouting::Kind::kStatic:
      return absl::StrCat("static:", routing.group_size);
    case UntrainedRouting::Kind::kRecency:
      return "recency";
  }
  return "none";
}

std::vector<int> GroupSizesFor(int64_t num_kv_heads) {
  std::vector<int> sizes = {1};
  for (int64_t size = 2; size <= num_kv_heads && sizes.size() < 3; ++size) {
    if (num_kv_heads % size != 0 || size % sizes.back() != 0) continue;
    if (sizes.size() == 2 && size > kLargestThirdGroup) break;
    sizes.push_back(static_cast<int>(size));
  }
  return sizes;
}

absl::StatusOr<MixsgaConfig> UntrainedConfig(const UntrainedRouting& routing, int64_t num_kv_heads) {
  MixsgaConfig config;
  config.elastic = true;
  const bool fixed = routing.kind == UntrainedRouting::Kind::kStatic;
  if (fixed && num_kv_heads % routing.group_size != 0) {
    return absl::InvalidArgumentError(absl::StrCat("static:", routing.group_size, ": the group size must divide the model's ", num_kv_heads,
                                                   " key/value heads"));
  }
  const std::vector<int> sizes = fixed ? std::vector<int>{1, routing.group_size} : GroupSizesFor(num_kv_heads);
  RATION_ASSIGN_OR_RETURN(config.experts, ExpertSpec::Create(sizes, static_cast<int>(num_kv_heads)));
  const int num_experts = config.experts.num_experts();
  config.default_ratio = Ratio::AllTo(fixed ? num_experts - 1 : 0, num_experts);
  return config;
}

}  // namespace ration
