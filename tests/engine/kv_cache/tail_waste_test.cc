// The promise behind the default page size: on conversation lengths, half-empty tail pages take less than 4 % of the
// bytes in use.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/kv_cache/kv_cache_spec.h"
#include "engine/router/routing.h"

namespace ration {
namespace {

// Llama-3.2-1B in bfloat16, groups 1, 2 and 4.
KvCacheSpec SpecOf1B() {
  KvCacheSpec::Options options;
  options.num_layers = 16;
  options.num_kv_heads = 8;
  options.head_dim = 64;
  options.dtype = kernels::DType::kBF16;
  options.experts = *ExpertSpec::Create({1, 2, 4}, 8);
  return *KvCacheSpec::Create(options);
}

struct Bytes {
  double used = 0;
  double stored = 0;
};

// Bytes of one layer with these counts.
Bytes LayerBytes(const KvCacheSpec& spec, const ExpertCounts& counts) {
  Bytes bytes;
  for (int e = 0; e < spec.num_experts(); ++e) {
    const int64_t slots = spec.slots_per_page(e);
    bytes.used += static_cast<double>((counts.count[e] + slots - 1) / slots * spec.page_bytes());
    bytes.stored += static_cast<double>(counts.count[e] * spec.bytes_per_token_layer(e));
  }
  return bytes;
}

TEST(TailWaste, TheFormulaIsWhatTheManagerMeasures) {
  const KvCacheSpec spec = SpecOf1B();
  const Ratio ratio = *Ratio::Parse("3:1:6", 3);
  for (int64_t tokens : {1, 9, 100, 777, 1024}) {
    KvCacheManager manager(spec, 16 * 1024);
    auto sequence = manager.NewSequence();
    const ExpertCounts counts = NextQuota(ratio, {}, tokens);
    std::vector<uint8_t> experts;
    for (int e = 0; e < 3; ++e) experts.insert(experts.end(), counts.count[e], static_cast<uint8_t>(e));
    std::vector<kernels::KvSlot> slots(tokens);
    for (int64_t layer = 0; layer < spec.num_layers(); ++layer) {
      manager.Append(*sequence, layer, 0, experts, {}, absl::MakeSpan(slots));
    }
    const Bytes bytes = LayerBytes(spec, counts);
    EXPECT_EQ(static_cast<double>(manager.used_bytes()), bytes.used * 16);
    EXPECT_EQ(static_cast<double>(manager.waste_bytes()), (bytes.used - bytes.stored) * 16);
  }
}

TEST(TailWaste, StaysUnderFourPercentOnTheConversationTrace) {
  const char* shared = std::getenv("RATION_SHARED");
  if (shared == nullptr) GTEST_SKIP() << "SKIPPED: RATION_SHARED is not set, the conversation trace cannot be read";
  const std::string path = std::string(shared) + "/data/traces/azure-llm-2023/AzureLLMInferenceTrace_conv.csv";
  std::ifstream file(path);
  if (!file) GTEST_SKIP() << "SKIPPED: no " << path;

  const KvCacheSpec spec = SpecOf1B();
  const Ratio ratio = *Ratio::Parse("3:1:6", 3);
  // A layer's bytes at each length, and their running sums: a sequence is live for one step a generated token.
  constexpr int64_t kMaxTokens = 20000;
  std::vector<Bytes> sums(kMaxTokens + 1);
  ExpertCounts counts;
  for (int64_t n = 1; n <= kMaxTokens; ++n) {
    const ExpertCounts next = NextQuota(ratio, counts, 1);
    for (int e = 0; e < 3; ++e) counts.count[e] += next.count[e];
    ++counts.total;
    const Bytes bytes = LayerBytes(spec, counts);
    sums[n] = {sums[n - 1].used + bytes.used, sums[n - 1].stored + bytes.stored};
  }
  double used = 0, stored = 0;
  int64_t requests = 0;
  std::string line;
  std::getline(file, line);  // the header
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string time, context, generated;
    std::getline(fields, time, ',');
    std::getline(fields, context, ',');
    std::getline(fields, generated, ',');
    const int64_t from = std::stoll(context), until = from + std::stoll(generated) - 1;
    if (from < 1 || until < from || until > kMaxTokens) continue;
    used += sums[until].used - sums[from - 1].used;
    stored += sums[until].stored - sums[from - 1].stored;
    ++requests;
  }
  ASSERT_GT(requests, 19000);
  const double waste = (used - stored) / used;
  std::cout << "tail waste, time-weighted over " << requests << " conversations: " << waste * 100
            << " % of the bytes in use\n";
  RecordProperty("waste_percent", std::to_string(waste * 100));
  EXPECT_LT(waste, 0.04);
  EXPECT_GT(waste, 0.001);  // or the computation forgot the tails
}

}  // namespace
}  // namespace ration
