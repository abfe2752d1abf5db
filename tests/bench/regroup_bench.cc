// Regroup against the memory bandwidth measured in the same run: bytes read + written a second, over a pool larger than the caches
// whose pages are taken in random order, chains shaped as the KvCacheManager makes them (pages fill the tail; the rest stays).
//
//   regroup_bench [threads]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/regroup.h"
#include "tests/bench/read_bandwidth.h"

namespace ration::bench {
namespace {

using kernels::KvLayout;
using kernels::RegroupMove;

constexpr int64_t kPoolBytes = int64_t{512} << 20;
constexpr int kPagesPerChain = 64;
constexpr int kRepetitions = 7;

struct ModelShape {
  const char* name;
  int32_t kv_heads, head_dim;
};

// Experts of group 1, 2, 4; a page holds 8 tokens of the first.
KvLayout MakeLayout(const ModelShape& shape) {
  KvLayout layout;
  layout.dtype = kernels::DType::kBF16;
  layout.num_kv_heads = shape.kv_heads;
  layout.head_dim = shape.head_dim;
  layout.num_experts = 3;
  for (int e = 0; e < 3; ++e) layout.group_size[e] = 1 << e;
  layout.page_bytes = 8 * layout.bytes_per_token(0);
  for (int e = 0; e < 3; ++e) layout.slots_per_page[e] = static_cast<int32_t>(layout.page_bytes / layout.bytes_per_token(e));
  return layout;
}

void Measure(const ModelShape& shape, int from, int to, kernels::cpu::ThreadPool& pool, std::vector<uint8_t>& memory) {
  const KvLayout layout = MakeLayout(shape);
  const int32_t num_chains = static_cast<int32_t>(kPoolBytes / layout.page_bytes / kPagesPerChain);
  std::vector<int32_t> pages(num_chains * kPagesPerChain);
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(7));
  std::vector<RegroupMove> moves;
  std::vector<int32_t> chain_begin = {0};
  const int32_t slots = layout.slots_per_page[from], target_slots = layout.slots_per_page[to];  // the one divides the other
  for (int32_t chain = 0; chain < num_chains; ++chain) {
    int32_t tail = 0;
    for (int32_t p = 0; p < kPagesPerChain; ++p) {
      const int32_t page = pages[chain * kPagesPerChain + p], used = p * slots % target_slots;
      if (used == 0) tail = page;
      moves.push_back({page, tail, 0, used, slots, static_cast<int16_t>(from), static_cast<int16_t>(to)});
    }
    chain_begin.push_back(static_cast<int32_t>(moves.size()));
  }
  kernels::RegroupParams params;
  params.layout = layout;
  params.pool = memory.data();
  params.moves = moves.data();
  params.chain_begin = chain_begin.data();
  params.num_chains = num_chains;
  std::vector<double> seconds;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {  // zeros stay zeros: no denormals, no overflow
    const double start = Now(BenchClock::kWall, pool.num_threads());
    kernels::cpu::Regroup(params, pool);
    seconds.push_back(Now(BenchClock::kWall, pool.num_threads()) - start);
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRepetitions / 2, seconds.end());
  ReadBandwidthOptions options;
  options.num_threads = pool.num_threads();
  const double bandwidth = MeasureReadBandwidth(options);
  const double bytes = static_cast<double>(moves.size()) * slots * (layout.bytes_per_token(from) + layout.bytes_per_token(to));
  const double rate = bytes / seconds[kRepetitions / 2];
  std::printf("%-8s %2d -> %d %8lld %10.2f %10.2f %7.0f%%\n", shape.name, layout.group_size[from], layout.group_size[to],
              static_cast<long long>(layout.page_bytes), rate * 1e-9, bandwidth * 1e-9, 100 * rate / bandwidth);
  std::fflush(stdout);
}

void Run(int threads) {
  kernels::cpu::ThreadPool pool(threads);
  std::vector<uint8_t> memory(kPoolBytes);
  std::printf("regroup, bfloat16, %d threads, %s, pool %lld MiB\n%-8s %7s %8s %10s %10s %8s\n", threads,
              Name(kernels::cpu::ActiveCpuLevel()), static_cast<long long>(kPoolBytes >> 20), "shape", "groups", "page B", "GB/s",
              "read GB/s", "share");
  for (const ModelShape& shape : {ModelShape{"1B", 8, 64}, ModelShape{"42M", 8, 64}}) {
    for (const auto& [from, to] : {std::pair<int, int>{0, 1}, {1, 2}, {0, 2}}) Measure(shape, from, to, pool, memory);
  }
}

}  // namespace
}  // namespace ration::bench

int main(int argc, char** argv) {
  ration::bench::Run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 2);
  return 0;
}
