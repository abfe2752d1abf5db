// Decode attention against the machine's own read bandwidth: bytes of keys and values read, over time, for mixes of experts
// and context lengths, in the shape of Llama-3.2-1B (32 query heads, 8 key/value heads of 64, bfloat16, pages of 16 KiB).
// Every repetition first reads the same pool with plain loads, so both figures see the same machine; medians are printed.
// The pool is several times the last-level cache and its pages are handed out in random order.
//
// With --hot_pages=N all sequences share N pages, which stay in the caches: the rate is then that of the arithmetic alone.
//
//   attention_bench [--threads=N] [--repetitions=N] [--pool_mib=N] [--hot_pages=N] [--clock=wall|cpu]
//                   [--level=portable|avx2|avx512|avx512_bf16]
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/bench/read_bandwidth.h"

namespace ration::bench {
namespace {

using kernels::AttentionParams;
using kernels::AttentionSequence;
using kernels::KvLayout;

constexpr int kQueryHeads = 32;
constexpr int kNumExperts = 3;
constexpr int64_t kPageBytes = 16384;

struct Mix {
  const char* name;
  int weights[kNumExperts];
};
constexpr Mix kMixes[] = {{"1:0:0", {1, 0, 0}}, {"3:1:6", {3, 1, 6}}, {"0:1:0", {0, 1, 0}}, {"0:0:1", {0, 0, 1}}};
constexpr int kContexts[] = {128, 2048, 8192};

struct Settings {
  int threads = 2;
  int repetitions = 9;
  int64_t pool_bytes = int64_t{256} << 20;
  int hot_pages = 0;  // 0: every sequence has pages of its own
  BenchClock clock = BenchClock::kWall;
};

KvLayout BenchLayout() {
  KvLayout layout;
  layout.dtype = kernels::DType::kBF16;
  layout.num_kv_heads = 8;
  layout.head_dim = 64;
  layout.num_experts = kNumExperts;
  layout.page_bytes = kPageBytes;
  for (int e = 0; e < kNumExperts; ++e) {
    layout.group_size[e] = 1 << e;
    layout.slots_per_page[e] = static_cast<int32_t>(kPageBytes / layout.bytes_per_token(e));
  }
  return layout;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Sequences of one context length and mix, as many as the pool holds.
class Workload {
 public:
  Workload(const KvLayout& layout, const uint8_t* pool, int64_t num_pages, int hot_pages, int context, const Mix& mix)
      : layout_(layout) {
    const int total = std::accumulate(mix.weights, mix.weights + kNumExperts, 0);
    int slots[kNumExperts];
    int left = context;
    int64_t pages_each = 0;
    for (int e = kNumExperts - 1; e >= 0; --e) {
      slots[e] = e == 0 ? left : context * mix.weights[e] / total;
      left -= slots[e];
      pages_each += (slots[e] + layout.slots_per_page[e] - 1) / layout.slots_per_page[e];
      sequence_bytes_ += slots[e] * layout.bytes_per_token(e);
    }
    pages_.resize(num_pages);
    std::iota(pages_.begin(), pages_.end(), 0);
    std::shuffle(pages_.begin(), pages_.end(), std::mt19937(7));
    if (hot_pages > 0) {
      for (int64_t i = 0; i < num_pages; ++i) pages_[i] = static_cast<int32_t>(i % hot_pages);
    }
    const int64_t count = num_pages / pages_each;
    const int32_t* next = pages_.data();
    for (int64_t s = 0; s < count; ++s) {
      AttentionSequence sequence;
      sequence.num_queries = 1;
      for (int e = 0; e < kNumExperts; ++e) {
        sequence.kv.experts[e] = {next, slots[e]};
        next += (slots[e] + layout.slots_per_page[e] - 1) / layout.slots_per_page[e];
      }
      sequences_.push_back(sequence);
    }
    query_.resize(count * kQueryHeads * layout.head_dim);
    out_.resize(query_.size());
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    for (float& x : query_) x = normal(random);
    params_.layout = layout_;
    params_.pool = pool;
    params_.num_query_heads = kQueryHeads;
    params_.scale = 1.0f / std::sqrt(static_cast<float>(layout.head_dim));
    params_.query_stride = params_.out_stride = int64_t{kQueryHeads} * layout.head_dim;
  }

  // Seconds of the prefill of one sequence's whole context in one chunk of `queries` last tokens, each seeing its prefix.
  double PrefillSeconds(int64_t queries, kernels::cpu::ThreadPool& pool, BenchClock clock) {
    AttentionSequence sequence = sequences_[0];
    sequence.query_begin = 0;
    sequence.num_queries = static_cast<int32_t>(queries);
    std::vector<int32_t> visible(queries * kNumExperts);
    for (int64_t i = 0; i < queries; ++i) {
      for (int e = 0; e < kNumExperts; ++e) {
        const int64_t slots = sequence.kv.experts[e].num_slots;
        visible[i * kNumExperts + e] = static_cast<int32_t>((slots * (i + 1) + queries - 1) / queries);
      }
    }
    sequence.visible = visible.data();
    std::vector<float> query(queries * params_.query_stride, 0.1f);
    std::vector<float> out(query.size());
    AttentionParams params = params_;
    params.sequences = &sequence;
    params.num_sequences = 1;
    params.query = query.data();
    params.out = out.data();
    const double start = Now(clock, pool.num_threads());
    kernels::cpu::PagedAttention(params, pool);
    return Now(clock, pool.num_threads()) - start;
  }

  int64_t num_sequences() const { return static_cast<int64_t>(sequences_.size()); }
  int64_t total_bytes() const { return sequence_bytes_ * num_sequences(); }

  // Seconds to decode one token in every sequence, `batch` sequences a call.
  double RunSeconds(int64_t batch, kernels::cpu::ThreadPool& pool, BenchClock clock) {
    const double start = Now(clock, pool.num_threads());
    for (int64_t s = 0; s < num_sequences(); s += batch) {
      AttentionParams params = params_;
      params.sequences = &sequences_[s];
      params.num_sequences = static_cast<int32_t>(std::min(batch, num_sequences() - s));
      for (int32_t i = 0; i < params.num_sequences; ++i) sequences_[s + i].query_begin = i;
      params.query = query_.data() + s * params.query_stride;
      params.out = out_.data() + s * params.out_stride;
      kernels::cpu::PagedAttention(params, pool);
    }
    return Now(clock, pool.num_threads()) - start;
  }

 private:
  const KvLayout layout_;
  AttentionParams params_;
  std::vector<int32_t> pages_;
  std::vector<AttentionSequence> sequences_;
  std::vector<float> query_;
  std::vector<float> out_;
  int64_t sequence_bytes_ = 0;
};

void Run(const Settings& settings) {
  const KvLayout layout = BenchLayout();
  const int64_t num_pages = settings.pool_bytes / kPageBytes;
  void* const memory =
      mmap(nullptr, settings.pool_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::fprintf(stderr, "cannot map %lld bytes\n", static_cast<long long>(settings.pool_bytes));
    return;
  }
  madvise(memory, settings.pool_bytes, MADV_HUGEPAGE);
  auto* const elements = static_cast<uint16_t*>(memory);
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> values(1 << 16);
  for (uint16_t& value : values) value = kernels::ToBF16(normal(random));
  for (int64_t i = 0; i < settings.pool_bytes / 2; ++i) elements[i] = values[(i * 7 + (i >> 16)) & 0xffff];

  kernels::cpu::ThreadPool pool(settings.threads);
  std::printf("decode attention, 32 query heads, 8 kv heads, head_dim 64, bfloat16, %d threads, %s, pool %lld MiB\n",
              settings.threads, Name(kernels::cpu::ActiveCpuLevel()), static_cast<long long>(settings.pool_bytes >> 20));
  std::printf("%8s %-6s %6s %10s %10s %8s %14s\n", "context", "mix", "batch", "read GB/s", "kernel GB/s", "share", "us/token/layer");
  // [mixes] seconds a token and layer at the longest context, batch 1.
  double longest[std::size(kMixes)] = {};
  for (const int context : kContexts) {
    for (const int64_t batch : {int64_t{1}, int64_t{16}}) {
      for (size_t m = 0; m < std::size(kMixes); ++m) {
        const Mix& mix = kMixes[m];
        Workload workload(layout, static_cast<const uint8_t*>(memory), num_pages, settings.hot_pages, context, mix);
        workload.RunSeconds(batch, pool, settings.clock);
        std::vector<double> share;
        std::vector<double> read_rate;
        std::vector<double> rate;
        std::vector<double> token_seconds;
        for (int i = 0; i < settings.repetitions; ++i) {
          const double before = settings.pool_bytes / ReadOnceSeconds(memory, settings.pool_bytes, pool, settings.clock);
          const double seconds = workload.RunSeconds(batch, pool, settings.clock);
          const double after = settings.pool_bytes / ReadOnceSeconds(memory, settings.pool_bytes, pool, settings.clock);
          read_rate.push_back((before + after) / 2);
          rate.push_back(workload.total_bytes() / seconds);
          share.push_back(rate.back() / read_rate.back());
          token_seconds.push_back(seconds / workload.num_sequences());
        }
        std::printf("%8d %-6s %6lld %10.1f %10.1f %7.0f%% %14.1f\n", context, mix.name, static_cast<long long>(batch),
                    Median(read_rate) / 1e9, Median(rate) / 1e9, 100 * Median(share), 1e6 * Median(token_seconds));
        std::fflush(stdout);
        if (batch == 1) longest[m] = Median(token_seconds);
      }
    }
  }
  std::printf("at %d tokens: 3:1:6 takes %.2f of the time of 0:1:0 (equal bytes) and %.2f of full KV's (half the bytes)\n",
              kContexts[std::size(kContexts) - 1], longest[1] / longest[2], longest[1] / longest[0]);
  for (const Mix& mix : kMixes) {
    Workload workload(layout, static_cast<const uint8_t*>(memory), num_pages, settings.hot_pages, 512, mix);
    std::vector<double> seconds;
    for (int i = 0; i < settings.repetitions; ++i) seconds.push_back(workload.PrefillSeconds(512, pool, settings.clock));
    std::printf("prefill of 512 tokens, %s: %.2f ms a layer\n", mix.name, 1e3 * Median(seconds));
  }
  munmap(memory, settings.pool_bytes);
}

}  // namespace
}  // namespace ration::bench

int main(int argc, char** argv) {
  ration::bench::Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    bool known = true;
    if (name == "--threads") {
      settings.threads = std::atoi(value.c_str());
    } else if (name == "--repetitions") {
      settings.repetitions = std::max(1, std::atoi(value.c_str()));
    } else if (name == "--pool_mib") {
      settings.pool_bytes = std::max(64, std::atoi(value.c_str())) * (int64_t{1} << 20);
    } else if (name == "--hot_pages") {
      settings.hot_pages = std::max(0, std::atoi(value.c_str()));
    } else if (name == "--clock") {
      known = value == "wall" || value == "cpu";
      settings.clock = value == "cpu" ? ration::bench::BenchClock::kCpu : ration::bench::BenchClock::kWall;
    } else if (name == "--level") {
      known = false;
      for (int level = 0; level <= static_cast<int>(ration::kernels::cpu::DetectedCpuLevel()); ++level) {
        if (value == Name(static_cast<ration::kernels::cpu::CpuLevel>(level))) {
          ration::kernels::cpu::SetCpuLevelForTesting(static_cast<ration::kernels::cpu::CpuLevel>(level));
          known = true;
        }
      }
    } else {
      known = false;
    }
    if (!known) {
      std::fprintf(stderr, "unknown argument or value: %s\n", argv[i]);
      return 2;
    }
  }
  ration::bench::Run(settings);
  return 0;
}
