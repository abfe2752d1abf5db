// Linear's speed in the shapes of real models, weights cold in memory as in a decode step: GB/s of weights read beside
// the machine's read bandwidth of the same run, operations per second where there are many rows, and the same products
// by at::linear and by oneDNN with weights in its own packed format.
// Not a test; run by tests/bench/run.sh.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <dnnl.hpp>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "engine/ops/linear.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/gemm.h"
#include "tests/bench/machine_probe.h"

ABSL_FLAG(int, threads, 2, "threads of the products");
ABSL_FLAG(std::string, only, "", "only shapes whose name contains this");
ABSL_FLAG(std::string, rows, "1,4,16,32,64,256,512", "row counts");
ABSL_FLAG(bool, compare, true, "also time at::linear and oneDNN on some shapes");
ABSL_FLAG(double, seconds, 0.3, "time for each figure");
ABSL_FLAG(std::string, level, "", "portable, avx2, avx512, bf16 or amx; default: the best there is");

namespace ration::bench {
namespace {

using kernels::DType;

struct Shape {
  const char* name;
  int64_t in;
  int64_t out;
  DType dtype;
  bool compare;  // against at::linear and oneDNN too
};

constexpr Shape kShapes[] = {
    {"1B qkv", 2048, 3072, DType::kBF16, false},       {"1B attention out", 2048, 2048, DType::kBF16, true},
    {"1B gate+up", 2048, 16384, DType::kBF16, true},   {"1B down", 8192, 2048, DType::kBF16, true},
    {"1B lm_head", 2048, 128256, DType::kBF16, false}, {"42M qkv", 512, 1536, DType::kBF16, false},
    {"42M gate+up", 512, 2752, DType::kBF16, true},    {"42M down", 1376, 512, DType::kBF16, false},
    {"42M lm_head", 512, 32000, DType::kBF16, false},  {"42M gate+up f32", 512, 2752, DType::kF32, true},
    {"in cache", 512, 512, DType::kBF16, false},       {"in cache f32", 512, 256, DType::kF32, false},
    {"1B out f32", 2048, 2048, DType::kF32, true},     {"tiny qkv f32", 64, 128, DType::kF32, true},
    {"tiny gate+up f32", 64, 344, DType::kF32, false}, {"tiny lm_head f32", 64, 512, DType::kF32, false},
};

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Seconds of one call, the median over rounds; call(i) works on the i-th copy of the weights.
double Time(int64_t copies, const std::function<void(int64_t)>& call) {
  for (int64_t i = 0; i < std::min<int64_t>(copies, 3); ++i) call(i);
  std::vector<double> rounds;
  const double end = Now() + absl::GetFlag(FLAGS_seconds);
  int64_t next = 3;
  while (rounds.size() < 5 || Now() < end) {
    // A round is at least 200 microseconds and 8 copies, so that the clock does not count.
    int64_t calls = 0;
    const double begin = Now();
    do {
      call(next++ % copies);
      ++calls;
    } while (calls < std::min<int64_t>(copies, 8) || Now() - begin < 200e-6);
    rounds.push_back((Now() - begin) / calls);
    if (Now() > end + 5) break;
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[rounds.size() / 2];
}

void Report(const Shape& shape, const char* how, int64_t rows, double seconds, double bandwidth) {
  const double bytes = static_cast<double>(shape.in) * shape.out * SizeOf(shape.dtype);
  const double operations = 2.0 * shape.in * shape.out * rows;
  std::printf("| %-16s | %6ld x %6ld | %-8s | %-9s | %4ld | %10.1f | %6.1f | %6.1f | %4.0f %% | %7.3f |\n", shape.name,
              static_cast<long>(shape.in), static_cast<long>(shape.out), kernels::Name(shape.dtype), how,
              static_cast<long>(rows), seconds * 1e6, bytes / seconds / 1e9, bandwidth / 1e9,
              100 * bytes / seconds / bandwidth, operations / seconds / 1e12);
  std::fflush(stdout);
}

at::Tensor RandomTensor(int64_t rows, int64_t columns, DType dtype) {
  return at::randn({rows, columns}).to(dtype == DType::kF32 ? at::kFloat : at::kBFloat16);
}

// oneDNN with weights reordered once into the format it prefers for these rows.
class DnnlLinear {
 public:
  DnnlLinear(const at::Tensor& weight, int64_t rows, DType dtype)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using dnnl::memory;
    const auto type = dtype == DType::kF32 ? memory::data_type::f32 : memory::data_type::bf16;
    const int64_t in = weight.size(1), out = weight.size(0);
    const memory::desc x({rows, in}, type, memory::format_tag::ab),
        y({rows, out}, memory::data_type::f32, memory::format_tag::ab);
    const memory::desc any({in, out}, type, memory::format_tag::any);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(x, any, y), engine_);
    matmul_ = dnnl::matmul(description);
    memory plain(memory::desc({in, out}, type, memory::format_tag::ba), engine_, weight.data_ptr());
    weights_ = memory(description.weights_desc(), engine_);
    dnnl::reorder(plain, weights_).execute(stream_, plain, weights_);
    stream_.wait();
    x_ = memory(x, engine_, nullptr);
    y_ = memory(y, engine_, nullptr);
  }
  void Forward(void* x, float* y) {
    x_.set_data_handle(x);
    y_.set_data_handle(y);
    matmul_.execute(stream_, {{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, weights_}, {DNNL_ARG_DST, y_}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul matmul_;
  dnnl::memory weights_, x_, y_;
};

void RunShape(const Shape& shape, const std::vector<int64_t>& row_counts, MachineProbe* probe,
              kernels::cpu::ThreadPool* pool) {
  const int64_t bytes = shape.in * shape.out * SizeOf(shape.dtype);
  // Four times the last-level cache, so that every call finds its weights in memory; the tiny model lives in the cache
  // anyway.
  const int64_t cold_bytes = std::max<int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE), 32 << 20) * 4;
  const int64_t copies = bytes < (1 << 20) ? 1 : std::max<int64_t>(2, (cold_bytes + bytes - 1) / bytes);
  const at::Tensor weight = RandomTensor(shape.out, shape.in, shape.dtype);
  const std::string level = absl::GetFlag(FLAGS_level);
  std::vector<std::unique_ptr<Linear>> linears;
  for (int64_t i = 0; i < copies; ++i) {
    Linear::Options options;
    options.weights = {weight};
    options.compute = shape.dtype;
    options.pool = pool;
    if (level == "portable") options.level = kernels::cpu::CpuLevel::kPortable;
    if (level == "avx2") options.level = kernels::cpu::CpuLevel::kAvx2;
    if (level == "avx512") options.level = kernels::cpu::CpuLevel::kAvx512;
    if (level == "bf16") options.level = kernels::cpu::CpuLevel::kAvx512BF16;
    if (level == "amx") options.level = kernels::cpu::CpuLevel::kAmx;
    auto linear = Linear::Create(options);
    if (!linear.ok()) {
      std::fprintf(stderr, "%s\n", linear.status().ToString().c_str());
      std::exit(1);
    }
    linears.push_back(*std::move(linear));
  }
  std::vector<float> y(shape.out * *std::max_element(row_counts.begin(), row_counts.end()));
  for (int64_t rows : row_counts) {
    const at::Tensor x = RandomTensor(rows, shape.in, shape.dtype);
    Report(shape, "Ration", rows, Time(copies, [&](int64_t i) { linears[i]->Forward(x.data_ptr(), rows, y.data()); }),
           probe->Measure().bytes_per_second);
  }
  linears.clear();
  if (!shape.compare || !absl::GetFlag(FLAGS_compare)) return;
  for (int64_t rows : row_counts) {
    std::vector<std::unique_ptr<DnnlLinear>> dnnls;
    for (int64_t i = 0; i < copies; ++i) dnnls.push_back(std::make_unique<DnnlLinear>(weight, rows, shape.dtype));
    const at::Tensor x = RandomTensor(rows, shape.in, shape.dtype);
    Report(shape, "oneDNN", rows, Time(copies, [&](int64_t i) { dnnls[i]->Forward(x.data_ptr(), y.data()); }),
           probe->Measure().bytes_per_second);
  }
  std::vector<at::Tensor> weights;
  for (int64_t i = 0; i < copies; ++i) weights.push_back(weight.clone());
  for (int64_t rows : row_counts) {
    const at::Tensor x = RandomTensor(rows, shape.in, shape.dtype);
    Report(shape, "at::linear", rows, Time(copies, [&](int64_t i) { at::linear(x, weights[i]); }),
           probe->Measure().bytes_per_second);
  }
}

// How many rows differ from what the same row gives alone, of Linear and of the libraries: a request's tokens must not
// depend on its neighbours in the batch.
void ReportBatchDependence(kernels::cpu::ThreadPool* pool) {
  const int64_t sizes[][2] = {{64, 512}, {172, 64}, {512, 512}, {1376, 512}, {2048, 2048}, {8192, 2048}};
  const int64_t batches[] = {2, 3, 4, 7, 16, 33, 64, 200};
  std::printf("rows of batches of 2 to 200 that differ from the same row alone (of %d)\n\n",
              2 + 3 + 4 + 7 + 16 + 33 + 64 + 200);
  std::printf("| in x out | dtype | Ration | oneDNN | at::linear |\n|---|---|---|---|---|\n");
  for (const auto& size : sizes) {
    for (DType dtype : {DType::kF32, DType::kBF16}) {
      const int64_t in = size[0], out = size[1];
      const at::Tensor weight = RandomTensor(out, in, dtype), x = RandomTensor(200, in, dtype);
      Linear::Options options;
      options.weights = {weight};
      options.compute = dtype;
      options.pool = pool;
      auto linear = Linear::Create(options);
      if (!linear.ok()) return;
      DnnlLinear single(weight, 1, dtype);
      // By row: what each gives alone.
      std::vector<float> ours(200 * out), dnnl(200 * out), y(200 * out);
      std::vector<at::Tensor> torch;
      for (int64_t r = 0; r < 200; ++r) {
        (*linear)->Forward(x[r].data_ptr(), 1, &ours[r * out]);
        single.Forward(x[r].data_ptr(), &dnnl[r * out]);
        torch.push_back(at::linear(x.slice(0, r, r + 1), weight));
      }
      int64_t different[3] = {};
      for (int64_t batch : batches) {
        (*linear)->Forward(x.data_ptr(), batch, y.data());
        for (int64_t r = 0; r < batch; ++r)
          different[0] += !std::equal(&ours[r * out], &ours[r * out] + out, &y[r * out]);
        DnnlLinear(weight, batch, dtype).Forward(x.data_ptr(), y.data());
        for (int64_t r = 0; r < batch; ++r)
          different[1] += !std::equal(&dnnl[r * out], &dnnl[r * out] + out, &y[r * out]);
        const at::Tensor all = at::linear(x.slice(0, 0, batch), weight);
        for (int64_t r = 0; r < batch; ++r) different[2] += !at::equal(all.slice(0, r, r + 1), torch[r]);
      }
      std::printf("| %ld x %ld | %s | %ld | %ld | %ld |\n", static_cast<long>(in), static_cast<long>(out),
                  kernels::Name(dtype), static_cast<long>(different[0]), static_cast<long>(different[1]),
                  static_cast<long>(different[2]));
    }
  }
}

int Main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const int threads = absl::GetFlag(FLAGS_threads);
  at::set_num_threads(threads);
  std::vector<int64_t> rows;
  const std::string list = absl::GetFlag(FLAGS_rows);
  for (size_t begin = 0; begin < list.size();) {
    rows.push_back(std::max(1, std::atoi(list.c_str() + begin)));
    begin = std::min(list.find(',', begin), list.size() - 1) + 1;
  }
  kernels::cpu::ThreadPool pool(threads);
  PinThreadsStartedBy([] {
    const at::Tensor large = at::zeros({1024, 1024});
    at::linear(large, large);
  });
  PinThreads(pool);
  MachineProbe probe(DType::kBF16, &pool);
  const MachineRates rates = probe.Measure();
  std::printf("kernels %s, %d threads, reads %.1f GB/s, multiplies bfloat16 in the cache at %.3f TFLOP/s\n\n",
              kernels::cpu::Name(kernels::cpu::BestGemmLevel()), threads, rates.bytes_per_second / 1e9,
              rates.operations_per_second / 1e12);
  if (absl::GetFlag(FLAGS_compare)) ReportBatchDependence(&pool);
  std::printf(
      "\n| shape            |       in x out    | dtype    | by        | rows |  time / us |   GB/s |   read |  of it "
      "| TFLOP/s |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|---|\n");
  for (const Shape& shape : kShapes) {
    if (std::string(shape.name).find(absl::GetFlag(FLAGS_only)) == std::string::npos) continue;
    RunShape(shape, rows, &probe, &pool);
  }
  return 0;
}

}  // namespace
}  // namespace ration::bench

int main(int argc, char** argv) { return ration::bench::Main(argc, argv); }
