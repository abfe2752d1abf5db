// The element-wise kernels against the LibTorch operators they replace, for one decode row and for larger batches, in the shapes
// of a tiny model (dim 64), a 42M model (dim 512) and Llama-3.2-1B (dim 2048). Microseconds a call, medians.
//
//   elementwise_bench [threads]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/elementwise.h"
#include "tests/bench/read_bandwidth.h"

namespace ration::bench {
namespace {

template <typename Body>
double MedianMicroseconds(const Body& body) {
  std::vector<double> times;
  body();
  int calls = 1;
  for (int repetition = 0; repetition < 15; ++repetition) {
    const double start = Now(BenchClock::kWall, 1);
    for (int i = 0; i < calls; ++i) body();
    const double seconds = Now(BenchClock::kWall, 1) - start;
    times.push_back(1e6 * seconds / calls);
    if (seconds < 2e-3) calls *= 2;  // long enough for the clock
  }
  times.erase(times.begin(), times.begin() + 6);
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

void Print(const char* name, int64_t rows, int64_t dim, double ours, double torch) {
  std::printf("%-22s %6lld %6lld %10.2f %10.2f %8.1fx\n", name, static_cast<long long>(rows), static_cast<long long>(dim), ours,
              torch, torch / ours);
  std::fflush(stdout);
}

void Run(int threads) {
  kernels::cpu::ThreadPool pool(threads);
  at::set_num_threads(threads);
  const c10::NoGradGuard no_grad;
  std::printf("element-wise kernels, %d threads, %s\n%-22s %6s %6s %10s %10s %9s\n", threads,
              Name(kernels::cpu::ActiveCpuLevel()), "kernel", "rows", "dim", "ours us", "at:: us", "speed-up");
  struct ModelShape {
    int64_t dim, ffn, heads;
  };
  for (const ModelShape& shape : {ModelShape{64, 172, 8}, ModelShape{512, 1376, 8}, ModelShape{2048, 8192, 32}}) {
    for (const int64_t rows : {int64_t{1}, int64_t{16}, int64_t{512}}) {
      const int64_t dim = shape.dim;
      at::Tensor x = at::randn({rows, dim});
      const at::Tensor delta = at::randn({rows, dim}) * 1e-3f;
      const at::Tensor weight = at::randn({dim});
      at::Tensor half = at::empty({rows, dim}, at::kBFloat16);

      kernels::cpu::RmsNormParams norm;
      norm.residual = x.data_ptr<float>();
      norm.delta = delta.data_ptr<float>();
      norm.weight = weight.data_ptr<float>();
      norm.bf16_out = reinterpret_cast<uint16_t*>(half.data_ptr());
      norm.rows = rows;
      norm.dim = dim;
      const double norm_ours = MedianMicroseconds([&] { kernels::cpu::RmsNorm(norm, pool); });
      const double norm_torch = MedianMicroseconds([&] {
        x.add_(delta);
        half = (x * at::rsqrt(x.square().mean(-1, true) + 1e-5) * weight).to(at::kBFloat16);
      });
      Print("RmsNorm (add, bf16)", rows, dim, norm_ours, norm_torch);

      const int64_t head_dim = dim / shape.heads;
      at::Tensor q = at::randn({rows, shape.heads, head_dim});
      const at::Tensor cos = at::rand({64, head_dim / 2});
      const at::Tensor sin = at::rand({64, head_dim / 2}) * 0.1f;
      const std::vector<int32_t> positions(rows, 5);
      const at::Tensor index = at::full({rows}, 5, at::kLong);
      kernels::cpu::RopeParams rope;
      rope.x = q.data_ptr<float>();
      rope.row_stride = dim;
      rope.rows = rows;
      rope.num_heads = static_cast<int32_t>(shape.heads);
      rope.head_dim = static_cast<int32_t>(head_dim);
      rope.positions = positions.data();
      rope.cos = cos.data_ptr<float>();
      rope.sin = sin.data_ptr<float>();
      const double rope_ours = MedianMicroseconds([&] { kernels::cpu::Rope(rope, pool); });
      q = at::randn({rows, shape.heads, head_dim});
      const double rope_torch = MedianMicroseconds([&] {
        const at::Tensor c = cos.index_select(0, index).unsqueeze(1);
        const at::Tensor s = sin.index_select(0, index).unsqueeze(1);
        const at::Tensor low = q.narrow(-1, 0, head_dim / 2);
        const at::Tensor high = q.narrow(-1, head_dim / 2, head_dim / 2);
        at::cat({low * c - high * s, high * c + low * s}, -1);
      });
      Print("Rope", rows, dim, rope_ours, rope_torch);

      const at::Tensor gate_up = at::randn({rows, 2 * shape.ffn});
      at::Tensor hidden = at::empty({rows, shape.ffn}, at::kBFloat16);
      kernels::cpu::ActivateParams silu;
      silu.in = gate_up.data_ptr<float>();
      silu.bf16_out = reinterpret_cast<uint16_t*>(hidden.data_ptr());
      silu.rows = rows;
      silu.dim = shape.ffn;
      const double silu_ours = MedianMicroseconds([&] { kernels::cpu::Activate(silu, pool); });
      const double silu_torch = MedianMicroseconds([&] {
        hidden = (at::silu(gate_up.narrow(1, 0, shape.ffn)) * gate_up.narrow(1, shape.ffn, shape.ffn)).to(at::kBFloat16);
      });
      Print("SiLU gate (bf16)", rows, shape.ffn, silu_ours, silu_torch);

      const at::Tensor phi = at::randn({3, dim});
      const at::Tensor bias = at::randn({3});
      at::Tensor scores = at::empty({rows, 3});
      kernels::cpu::RouterScoresParams router;
      router.x = delta.data_ptr<float>();
      router.weight = phi.data_ptr<float>();
      router.bias = bias.data_ptr<float>();
      router.scores = scores.data_ptr<float>();
      router.rows = rows;
      router.dim = dim;
      router.num_experts = 3;
      const double router_ours = MedianMicroseconds([&] { kernels::cpu::RouterScores(router, pool); });
      const double router_torch = MedianMicroseconds([&] { at::sigmoid(at::linear(delta, phi, bias)); });
      Print("RouterScores (3)", rows, dim, router_ours, router_torch);
    }
  }
}

}  // namespace
}  // namespace ration::bench

int main(int argc, char** argv) {
  ration::bench::Run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 2);
  return 0;
}
