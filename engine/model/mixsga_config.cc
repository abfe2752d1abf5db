#include "engine/model/mixsga_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/json_fields.h"

namespace ration {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxRoutingWindow = 65536;
// A knot of the ladder says which KV fraction its ratio has; the two must agree up to rounding in the file.
constexpr double kLadderTolerance = 0.01;

absl::StatusOr<Ratio> ParseRatio(const JsonFields& fields, const char* key, int num_experts) {
  const Json* value = fields.Find(key);
  if (value == nullptr) return fields.Error(key, "is missing");
  if (!value->is_string()) return fields.Error(key, "must be a ratio such as \"3:1:6\", not ", ShownJson(*value));
  absl::StatusOr<Ratio> ratio = Ratio::Parse(value->get<std::string>(), num_experts);
  if (!ratio.ok()) return fields.Error(key, ratio.status().message());
  return ratio;
}

absl::Status ParseLadder(const JsonFields& fields, MixsgaConfig& mixsga) {
  constexpr size_t kMaxKnots = 64;
  const Json* ladder = fields.Find("ladder");
  if (ladder == nullptr) return absl::OkStatus();
  if (!ladder->is_array() || ladder->size() > kMaxKnots) {
    return fields.Error("ladder", "must be a list of at most ", kMaxKnots, " knots, not ", ShownJson(*ladder));
  }
  for (size_t i = 0; i < ladder->size(); ++i) {
    const Json& item = (*ladder)[i];
    const std::string where = absl::StrCat(fields.where(), "ladder[", i, "]");
    if (!item.is_object())
      return absl::InvalidArgumentError(absl::StrCat(where, ": must be an object, not ", ShownJson(item)));
    const JsonFields knot(item, absl::StrCat(where, "."));
    RATION_RETURN_IF_ERROR(knot.OnlyKeys({"kv_fraction", "ratio"}));
    RATION_ASSIGN_OR_RETURN(const double fraction, knot.Double("kv_fraction", 0, 1));
    RATION_ASSIGN_OR_RETURN(const Ratio ratio, ParseRatio(knot, "ratio", mixsga.experts.num_experts()));
    if (i > 0 && fraction >= mixsga.ladder.back().first) {
      return knot.Error("kv_fraction", "must be below the ", mixsga.ladder.back().first, " before it, not ", fraction);
    }
    const double cost = ratio.KvFraction(mixsga.experts);
    if (std::fabs(cost - fraction) > kLadderTolerance) {
      return knot.Error("kv_fraction", "must be within ", kLadderTolerance, " of what ratio ", ratio.ToString(),
                        " keeps, ", cost, ", not ", fraction);
    }
    mixsga.ladder.emplace_back(fraction, ratio);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MixsgaConfig> ParseMixsga(const Json& object, int64_t num_kv_heads, const std::string& where) {
  const JsonFields fields(object, where);
  RATION_RETURN_IF_ERROR(
      fields.OnlyKeys({"group_sizes", "routing_window", "trained_ratio", "default_ratio", "ladder"}));
  MixsgaConfig mixsga;

  const Json* sizes = fields.Find("group_sizes");
  if (sizes == nullptr) return fields.Error("group_sizes", "is missing");
  if (!sizes->is_array() || sizes->empty() || sizes->size() > kMaxExperts) {
    return fields.Error("group_sizes", "must be a list of 1 to ", kMaxExperts, " integers, not ", ShownJson(*sizes));
  }
  std::vector<int> group_sizes;
  for (const Json& size : *sizes) {
    RATION_ASSIGN_OR_RETURN(const int64_t group_size, fields.ToInt("group_sizes", size, 1, num_kv_heads));
    group_sizes.push_back(static_cast<int>(group_size));
  }
  absl::StatusOr<ExpertSpec> experts = ExpertSpec::Create(group_sizes, static_cast<int>(num_kv_heads));
  if (!experts.ok()) return absl::InvalidArgumentError(absl::StrCat(where, experts.status().message()));
  mixsga.experts = *std::move(experts);

  RATION_ASSIGN_OR_RETURN(mixsga.routing_window, fields.IntOr("routing_window", 256, 1, kMaxRoutingWindow));
  const Json* trained = fields.Find("trained_ratio");
  if (trained != nullptr && *trained == "elastic") {
    mixsga.elastic = true;
  } else {
    RATION_ASSIGN_OR_RETURN(mixsga.trained_ratio, ParseRatio(fields, "trained_ratio", mixsga.experts.num_experts()));
  }
  if (fields.Find("default_ratio") == nullptr && mixsga.trained_ratio) {
    mixsga.default_ratio = *mixsga.trained_ratio;
  } else {
    RATION_ASSIGN_OR_RETURN(mixsga.default_ratio, ParseRatio(fields, "default_ratio", mixsga.experts.num_experts()));
  }
  RATION_RETURN_IF_ERROR(ParseLadder(fields, mixsga));
  return mixsga;
}

}  // namespace ration
