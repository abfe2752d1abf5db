// Any bytes as config.json and, after a NUL, generation_config.json: refused with a message, or a configuration whose
// numbers keep the rules that the model code builds on.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "engine/base/check.h"
#include "engine/model/model_config.h"

namespace ration {
namespace {

void CheckRatio(const Ratio& ratio, const ExpertSpec& experts) {
  RATION_CHECK(ratio.num_experts() == experts.num_experts());
  int64_t sum = 0;
  for (int e = 0; e < ratio.num_experts(); ++e) {
    RATION_CHECK(ratio.ppm(e) >= 0);
    sum += ratio.ppm(e);
  }
  RATION_CHECK(sum == Ratio::kOne);
  RATION_CHECK(ratio.KvFraction(experts) > 0 && ratio.KvFraction(experts) <= 1 + 1e-12);
}

void CheckMixsga(const ModelConfig& config) {
  const MixsgaConfig& mixsga = *config.mixsga;
  RATION_CHECK(mixsga.routing_window > 0 && mixsga.elastic != mixsga.trained_ratio.has_value());
  for (int e = 0; e < mixsga.experts.num_experts(); ++e)
    RATION_CHECK(config.num_kv_heads % mixsga.experts.group_size(e) == 0);
  CheckRatio(mixsga.default_ratio, mixsga.experts);
  if (mixsga.trained_ratio) CheckRatio(*mixsga.trained_ratio, mixsga.experts);
  double last = 2;
  for (const auto& [fraction, ratio] : mixsga.ladder) {
    RATION_CHECK(fraction < last && fraction >= 0 && fraction <= 1);
    CheckRatio(ratio, mixsga.experts);
    last = fraction;
  }
}

void Run(absl::string_view input) {
  const size_t end = input.find('\0');
  const absl::string_view generation = end == absl::string_view::npos ? "" : input.substr(end + 1);
  const absl::StatusOr<ModelConfig> parsed = ParseModelConfig(input.substr(0, end), generation);
  if (!parsed.ok()) {
    const absl::string_view message = parsed.status().message();
    RATION_CHECK(parsed.status().code() == absl::StatusCode::kInvalidArgument ||
                 parsed.status().code() == absl::StatusCode::kUnimplemented);
    RATION_CHECK(absl::StartsWith(message, "config.json: ") || absl::StartsWith(message, "generation_config.json: "));
    RATION_CHECK(message.size() < 2000);
    for (char c : message) RATION_CHECK(static_cast<unsigned char>(c) >= 0x20);  // one line of a log
    return;
  }
  const ModelConfig& config = *parsed;
  RATION_CHECK(config.architecture == "LlamaForCausalLM" || config.architecture == "OPTForCausalLM" ||
               config.architecture == "Gemma2ForCausalLM");
  RATION_CHECK(config.embedding_size > 0);
  RATION_CHECK(config.windows.empty() || static_cast<int64_t>(config.windows.size()) == config.num_layers);
  for (int64_t window : config.windows) RATION_CHECK(window >= 0 && window < config.max_positions);
  RATION_CHECK(config.family != ModelFamily::kGemma2 || config.query_pre_attn_scalar > 0);
  RATION_CHECK(config.attention_soft_cap >= 0 && config.logit_soft_cap >= 0);
  for (int64_t size : {config.hidden_size, config.intermediate_size, config.num_layers, config.num_query_heads,
                       config.num_kv_heads, config.head_dim, config.vocab_size, config.max_positions}) {
    RATION_CHECK(size > 0);
  }
  RATION_CHECK(config.num_query_heads % config.num_kv_heads == 0);
  RATION_CHECK(config.family == ModelFamily::kOpt || config.head_dim % 2 == 0);  // RoPE turns pairs
  int64_t product = 0;  // the largest matrices, all layers, in bytes
  const int64_t widest = std::max(config.intermediate_size, config.num_query_heads * config.head_dim);
  RATION_CHECK(!__builtin_mul_overflow(config.hidden_size * 4, widest, &product));
  RATION_CHECK(!__builtin_mul_overflow(config.hidden_size * 4, config.vocab_size, &product));
  RATION_CHECK(
      !__builtin_mul_overflow(config.num_layers * config.num_query_heads * config.head_dim, int64_t{8}, &product));
  RATION_CHECK(std::isfinite(config.norm_eps) && config.norm_eps >= 0);
  RATION_CHECK(std::isfinite(config.rope_theta) && config.rope_theta >= 1);
  RATION_CHECK(config.rope_scaling.factor >= 1 &&
               config.rope_scaling.high_freq_factor > config.rope_scaling.low_freq_factor);
  if (config.bos_token_id) RATION_CHECK(*config.bos_token_id >= 0 && *config.bos_token_id < config.vocab_size);
  int32_t last = -1;
  for (int32_t id : config.eos_token_ids) {
    RATION_CHECK(id > last && id < config.vocab_size);
    last = id;
  }
  if (config.mixsga) CheckMixsga(config);
}

}  // namespace
}  // namespace ration

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ration::Run(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
