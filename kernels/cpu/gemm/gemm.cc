// The loops around the micro kernels: rows in chunks, panels in pieces handed to the threads, k in blocks.
//
// For few rows a step must stream the weights once: each thread walks whole panels front to back and the micro kernels
// fetch the next block ahead. For many rows a block of weights (32 KiB) is used by all rows of the chunk from the
// nearest caches, and panels share each block of x. Sums pass from block to block as float32, exactly, so none of this
// changes the order of additions.
// Layer: kernels/cpu/gemm. Scratch memory is one growing buffer a thread.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/cpu/gemm/gemm_with.h"
#include "kernels/cpu/gemm/levels.h"
#include "kernels/cpu/gemm/micro_kernel.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/gemm.h"

namespace ration::kernels::cpu {
namespace {

// Rows multiplied together. 256 rows make the product compute bound (512 operations for each weight), keep a group's
// sums (128 KiB) in the second-level cache and bound the packed x.
constexpr int64_t kChunkRows = 256;
// Panels that share the blocks of x when there are enough rows for x to fall out of the first-level cache. Measured on
// Zen 4: 2 is ahead of 1 and 4 by some percent at 256 rows.
constexpr int64_t kGroupPanels = 2;
constexpr int64_t kGroupedRows = 17;
// Rows that one thread copies at a time.
constexpr int64_t kPackRows = 32;
// Micro kernels that work on whole tiles may touch this many rows past the last.
constexpr int64_t kSpareRows = 32;
// Work that one thread does in less than this is not shared: handing x and y from core to core costs 3 to 15
// microseconds. The rates are about what one core of Zen 4 does, from cold memory and with float32.
constexpr double kInlineMicroseconds = 16;
constexpr double kInlineBytesPerMicrosecond = 28e3;
constexpr double kInlineProductsPerMicrosecond = 50e3;

class Scratch {
 public:
  ~Scratch() { std::free(data_); }
  uint8_t* Reserve(int64_t bytes) {
    if (bytes > capacity_) {
      std::free(data_);
      capacity_ = (bytes + 4095) / 4096 * 4096;
      data_ = static_cast<uint8_t*>(std::aligned_alloc(4096, capacity_));
      if (data_ == nullptr) std::abort();  // a few MiB were refused: nothing can go on
    }
    return data_;
  }

 private:
  uint8_t* data_ = nullptr;
  int64_t capacity_ = 0;
};

// One chunk of rows of one product.
struct Chunk {
  const GemmParams* params;
  const MicroKernels* kernels;
  const uint8_t* x;  // [blocks][rows][kXRowBytes]
  int64_t row_begin;
  int64_t rows;
  int64_t steps;        // of a whole panel
  int64_t block_steps;  // of all blocks but the last
  int64_t group_panels;
};

int64_t NumBlocks(const Chunk& chunk) { return (chunk.steps + chunk.block_steps - 1) / chunk.block_steps; }

// Copies row `row`'s part of block `block`, widened where the kernel wants it, zeros up to the steps' end.
void PackXRow(const Chunk& chunk, int64_t block, int64_t row, uint8_t* out) {
  const PackedWeights& weights = chunk.params->weights;
  const int64_t per_step = weights.dtype == DType::kBF16 ? 2 : 1;
  const int64_t begin = block * chunk.block_steps * per_step;
  const int64_t end = std::min((block + 1) * chunk.block_steps, chunk.steps) * per_step;
  const int64_t count = std::min(end, weights.in) - begin;
  const int64_t offset = (chunk.row_begin + row) * weights.in + begin;
  int64_t written = count * SizeOf(weights.dtype);
  if (chunk.kernels->widen_x) {
    const uint16_t* in = static_cast<const uint16_t*>(chunk.params->x) + offset;
    float* floats = reinterpret_cast<float*>(out);
    for (int64_t i = 0; i < count; ++i) floats[i] = FromBF16(in[i]);
    written = count * 4;
  } else {
    std::memcpy(out, static_cast<const uint8_t*>(chunk.params->x) + offset * SizeOf(weights.dtype), written);
  }
  const int64_t wanted = (end - begin) * (chunk.kernels->widen_x ? 4 : SizeOf(weights.dtype));
  std::memset(out + written, 0, wanted - written);
}

// Multiplies the chunk's rows with panels [panel_begin, panel_end).
void MultiplyPanels(const Chunk& chunk, int64_t panel_begin, int64_t panel_end) {
  static thread_local Scratch scratch;
  const PackedWeights& weights = chunk.params->weights;
  const MicroKernels& kernels = *chunk.kernels;
  const int64_t num_blocks = NumBlocks(chunk);
  const int64_t block_bytes = chunk.block_steps * kStepBytes;
  const int64_t units = (chunk.rows + kernels.row_unit - 1) / kernels.row_unit;
  const int64_t unit_limit = kernels.max_rows / kernels.row_unit;
  const int64_t row_blocks = (units + unit_limit - 1) / unit_limit;
  const int64_t sums_stride = (chunk.rows + kSpareRows) * kPanelColumns;
  float* sums = reinterpret_cast<float*>(scratch.Reserve(chunk.group_panels * sums_stride * 4));

  if (kernels.enter != nullptr) kernels.enter(chunk.rows);
  MicroArgs args;
  args.y_stride = weights.out;
  args.prefetch_step = kStepBytes / row_blocks;
  for (int64_t group = panel_begin; group < panel_end; group += chunk.group_panels) {
    const int64_t group_end = std::min(group + chunk.group_panels, panel_end);
    for (int64_t block = 0; block < num_blocks; ++block) {
      args.steps = std::min(chunk.block_steps, chunk.steps - block * chunk.block_steps);
      args.first = block == 0;
      args.last = block + 1 == num_blocks;
      for (int64_t panel = group; panel < group_end; ++panel) {
        args.w = weights.data + panel * weights.panel_bytes() + block * block_bytes;
        // The block that comes next in this order, or the same again (which costs nothing) at the end.
        const uint8_t* next = args.w;
        if (panel + 1 < group_end) {
          next += weights.panel_bytes();
        } else if (!args.last) {
          next = weights.data + group * weights.panel_bytes() + (block + 1) * block_bytes;
        } else if (group_end < panel_end) {
          next = weights.data + group_end * weights.panel_bytes();
        }
        const int64_t column = panel * kPanelColumns;
        args.columns = std::min(kPanelColumns, weights.out - column);
        args.bias = chunk.params->bias == nullptr ? nullptr : chunk.params->bias + column;
        for (int64_t i = 0, unit = 0; i < row_blocks; ++i) {
          const int64_t unit_end = units * (i + 1) / row_blocks;
          const int64_t row = unit * kernels.row_unit;
          const int64_t rows = std::min(unit_end * kernels.row_unit, chunk.rows) - row;
          args.x = chunk.x + (block * chunk.rows + row) * kXRowBytes;
          args.sums = sums + (panel - group) * sums_stride + row * kPanelColumns;
          args.y = chunk.params->y + (chunk.row_begin + row) * weights.out + column;
          args.prefetch = next + i * block_bytes / row_blocks;
          args.rows = rows;
          kernels.run[rows - 1](args);
          unit = unit_end;
        }
      }
    }
  }
  if (kernels.leave != nullptr) kernels.leave();
}

// Splits [0, count) into pieces, three quarters of what is left at a time: long walks through memory first, because
// each start is slow, and small pieces last for even finishing times.
void SplitPieces(int64_t count, int num_threads, std::vector<int64_t>* ends) {
  ends->clear();
  for (int64_t begin = 0; begin < count;) {
    const int64_t size = std::max<int64_t>(1, (count - begin) * 3 / (4 * num_threads));
    for (int i = 0; i < num_threads && begin < count; ++i) {
      begin = std::min(begin + size, count);
      ends->push_back(begin);
    }
  }
}

}  // namespace

void GemmWith(const GemmParams& params, const MicroKernels& kernels, ThreadPool& pool) {
  static thread_local Scratch x_scratch;
  static thread_local std::vector<int64_t> piece_ends;
  const PackedWeights& weights = params.weights;
  const bool bf16 = weights.dtype == DType::kBF16;
  for (int64_t row_begin = 0; row_begin < params.rows; row_begin += kChunkRows) {
    Chunk chunk;
    chunk.params = &params;
    chunk.kernels = &kernels;
    chunk.row_begin = row_begin;
    chunk.rows = std::min(kChunkRows, params.rows - row_begin);
    chunk.steps = !bf16 ? weights.in : kernels.row_unit > 1 ? weights.in_padded / 2 : (weights.in + 1) / 2;
    chunk.block_steps = kXBlockBytes / (kernels.widen_x ? 8 : 4);
    chunk.group_panels = chunk.rows >= kGroupedRows ? kGroupPanels : 1;
    const int64_t num_blocks = NumBlocks(chunk);
    uint8_t* x = x_scratch.Reserve((num_blocks * chunk.rows + kSpareRows) * kXRowBytes);
    chunk.x = x;

    const double products = static_cast<double>(chunk.rows) * weights.in * weights.out;
    const double microseconds = std::max(weights.num_bytes() / kInlineBytesPerMicrosecond,
                                         products / (kInlineProductsPerMicrosecond * (bf16 ? 2 : 1)));
    const bool inline_only = pool.num_threads() == 1 || microseconds < kInlineMicroseconds;

    // Up to 128 KiB are copied faster than another thread is asked to help.
    const int64_t pack_rows =
        inline_only || num_blocks * chunk.rows * kXBlockBytes <= 128 * 1024 ? chunk.rows : kPackRows;
    const int64_t parts = (chunk.rows + pack_rows - 1) / pack_rows;
    const auto pack = [&](int64_t index, int) {
      const int64_t block = index / parts, row_end = std::min((index % parts + 1) * pack_rows, chunk.rows);
      for (int64_t row = index % parts * pack_rows; row < row_end; ++row) {
        PackXRow(chunk, block, row, x + (block * chunk.rows + row) * kXRowBytes);
      }
    };
    if (parts == 1) {
      for (int64_t index = 0; index < num_blocks; ++index) pack(index, 0);
    } else {
      pool.ParallelFor(num_blocks * parts, pack);
    }

    const int64_t num_panels = weights.num_panels();
    if (inline_only) {
      MultiplyPanels(chunk, 0, num_panels);
      continue;
    }
    SplitPieces((num_panels + chunk.group_panels - 1) / chunk.group_panels, pool.num_threads(), &piece_ends);
    // The bodies run on other threads, which have piece_ends of their own.
    const std::vector<int64_t>& ends = piece_ends;
    pool.ParallelFor(static_cast<int64_t>(ends.size()), [&](int64_t piece, int) {
      const int64_t begin = piece == 0 ? 0 : ends[piece - 1] * chunk.group_panels;
      MultiplyPanels(chunk, begin, std::min(ends[piece] * chunk.group_panels, num_panels));
    });
  }
}

void Gemm(const GemmParams& params, CpuLevel level, ThreadPool& pool) {
  GemmWith(params, *KernelsOf(level, params.weights.dtype), pool);
}

}  // namespace ration::kernels::cpu
