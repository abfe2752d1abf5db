// Attention over mixed pages on the CPU: runs the plan's items, each a loop over parts of at most kPartSlots slots of one
// expert: scores of the part, softmax within the part, weighted values, exact merge into the rows' running results.
// Layer: kernels/cpu. Thread-safe for different `out` rows; scratch memory belongs to the threads.
#include "kernels/attention.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/attention/plan.h"
#include "kernels/cpu/attention/tile_kernels.h"
#include "kernels/cpu/elementwise/row_kernels.h"
#include "kernels/cpu/thread_pool.h"

namespace ration::kernels::cpu {
namespace {

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
// The score of a slot outside the window: its weight is exactly 0 beside any real score, and no difference of two is a NaN.
constexpr float kHiddenScore = -1e30f;
// Calls cheaper than this run on the calling thread: waking another costs more.
constexpr int64_t kInlineCost = 15'000;

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

struct Scratch {
  AlignedBuffer<uint32_t> query;       // [rows, key_words]
  AlignedBuffer<uint32_t> packed;      // one chunk of keys or values
  AlignedBuffer<float> scores;         // [rows, kPartSlots]; then packed weights
  AlignedBuffer<float> part_out;       // [rows, padded_dim]
  AlignedBuffer<float> out;            // [rows, padded_dim]
  AlignedBuffer<float> stats;          // part_max, part_sum, max, sum: [rows] each
  const uint8_t* rows[2][kPartSlots + kMaxLanes];  // keys of stored head 0 of this part's and the next part's slots
  int32_t hidden[kPartSlots];          // places in a part that a window hides
};

Scratch& ThreadScratch() {
  static thread_local Scratch scratch;
  return scratch;
}

// Partial results of blocks whose parts are spread over items, indexed as WorkItem::partial_begin says.
struct Partials {
  float* max = nullptr;
  float* sum = nullptr;  // 0: the row sees nothing of the part
  float* out = nullptr;  // [.., padded_dim]
};

class ItemRunner {
 public:
  ItemRunner(const AttentionParams& params, const TileKernels& kernels, const WorkItem& item, const Partials& partials)
      : params_(params),
        layout_(params.layout),
        kernels_(kernels),
        item_(item),
        sequence_(params.sequences[item.sequence]),
        partials_(partials),
        scratch_(ThreadScratch()),
        last_query_(item.query_begin + item.num_queries - 1),
        num_rows_(item.num_heads * item.num_queries),
        head_dim_(layout_.head_dim),
        padded_dim_(static_cast<int>(RoundUp(head_dim_, kDimPadding))),
        key_words_(kernels.key_words(head_dim_)),
        row_bytes_(head_dim_ * SizeOf(layout_.dtype)) {}

  void Run() {
    query_ = scratch_.query.Reserve(int64_t{num_rows_} * key_words_);
    packed_ = scratch_.packed.Reserve(int64_t{kChunkSlots} * std::max(key_words_, padded_dim_));
    scores_ = scratch_.scores.Reserve(int64_t{num_rows_} * kPartSlots);
    part_out_ = scratch_.part_out.Reserve(int64_t{num_rows_} * padded_dim_);
    part_max_ = scratch_.stats.Reserve(4 * int64_t{num_rows_});
    part_sum_ = part_max_ + num_rows_;
    StartRows();
    for (int h = 0; h < item_.num_heads; ++h) {
      for (int q = 0; q < item_.num_queries; ++q) {
        const float* from = params_.query + QueryRow(q) * params_.query_stride + int64_t{item_.head_begin + h} * head_dim_;
        const int64_t row = int64_t{h} * item_.num_queries + q;
        kernels_.pack_query(from, head_dim_, params_.scale * kLog2E, query_ + row * key_words_);
      }
    }
    if (item_.part_begin < item_.part_end) FindRows(item_.part_begin);
    StartCursor(item_.part_begin);
    NextChunk();
    next_.budget = next_rows_;
    while (next_.budget > 0) next_.FetchRow();
    for (int32_t index = item_.part_begin; index < item_.part_end; ++index) RunPart(index);
    if (item_.partial_begin < 0) FinishRows();
  }

  // Merges the partial results of all parts.
  void Merge() {
    StartRows();
    for (int32_t index = 0; index < item_.part_end; ++index) {
      const int64_t begin = item_.partial_begin + int64_t{index} * num_rows_;
      MergePart(partials_.max + begin, partials_.sum + begin, partials_.out + begin * padded_dim_);
    }
    FinishRows();
  }

 private:
  int64_t QueryRow(int q) const { return int64_t{sequence_.query_begin} + item_.query_begin + q; }

  void StartRows() {
    float* const stats = scratch_.stats.Reserve(4 * int64_t{num_rows_});
    max_ = stats + 2 * num_rows_;
    sum_ = stats + 3 * num_rows_;
    out_ = scratch_.out.Reserve(int64_t{num_rows_} * padded_dim_);
    std::fill_n(max_, num_rows_, kMinusInfinity);
    std::fill_n(sum_, num_rows_, 0.0f);
    std::memset(out_, 0, sizeof(float) * num_rows_ * padded_dim_);
  }

  // Places at the beginning of a part whose tokens are gone.
  static int GonePlaces(const Part& part) { return std::max(0, -part.slot_begin); }

  // Where the keys of a part's slots lie; the last one repeats, so that a whole vector of slots can always be read, and the first
  // one stands for those that are gone.
  void FindRows(int32_t index) {
    const Part part = GetPart(layout_, sequence_, last_query_, index);
    const ExpertPages& pages = sequence_.kv.experts[part.expert];
    const int32_t slots_per_page = layout_.slots_per_page[part.expert];
    const uint8_t** rows = scratch_.rows[index % 2];
    const int32_t gone = GonePlaces(part);
    int32_t page = (part.slot_begin + gone) / slots_per_page;
    int32_t slot = (part.slot_begin + gone) % slots_per_page;
    int32_t i = gone;
    while (i < part.num_slots) {
      const uint8_t* row = params_.pool + pages.pages[page] * layout_.page_bytes + slot * row_bytes_;
      for (; i < part.num_slots && slot < slots_per_page; ++i, ++slot, row += row_bytes_) rows[i] = row;
      ++page;
      slot = 0;
    }
    for (const uint8_t* last = rows[i - 1]; i < RoundUp(part.num_slots, kMaxLanes); ++i) rows[i] = last;
    std::fill_n(rows, gone, rows[gone]);
  }

  void RunPart(int32_t index) {
    const Part part = GetPart(layout_, sequence_, last_query_, index);
    const int64_t begin = item_.partial_begin + int64_t{index} * num_rows_;
    if (item_.partial_begin >= 0) {
      part_max_ = partials_.max + begin;
      part_sum_ = partials_.sum + begin;
      part_out_ = partials_.out + begin * padded_dim_;
    }
    if (index + 1 < item_.part_end) FindRows(index + 1);
    Scores(part, scratch_.rows[index % 2]);
    Weights(part);
    Values(part, scratch_.rows[index % 2]);
    if (item_.partial_begin < 0) MergePart(part_max_, part_sum_, part_out_);
  }

  struct StoredHeads {
    int begin, end, rows_each;
    int64_t head_bytes;   // from a stored head to the next
    int64_t value_bytes;  // from a key to its value
  };
  StoredHeads HeadsOf(int e) const {
    const int share = HeadsPerStoredHead(params_, e);
    return {item_.head_begin / share, (item_.head_begin + item_.num_heads) / share, share * item_.num_queries,
            layout_.slots_per_page[e] * row_bytes_, layout_.value_offset(e) * SizeOf(layout_.dtype)};
  }

  static int ChunkSlots(const Part& part, int chunk) { return std::min(kChunkSlots, part.num_slots - chunk); }

  // The cursor walks over the chunks (keys or values of kChunkSlots slots, all stored heads) one ahead of the computation.
  void StartCursor(int32_t index) {
    cursor_part_ = index;
    cursor_values_ = false;
    cursor_chunk_ = 0;
    if (index < item_.part_end) cursor_ = GetPart(layout_, sequence_, last_query_, index);
  }

  // Makes the cursor's chunk the one to be fetched; there is none behind the last part. As a part has at least two chunks, the
  // cursor's is in this part or the next, so its rows are known.
  void NextChunk() {
    next_ = PrefetchRows();
    next_rows_ = 0;
    if (cursor_part_ >= item_.part_end) return;
    const StoredHeads heads = HeadsOf(cursor_.expert);
    const int32_t page_rows = layout_.slots_per_page[cursor_.expert];
    next_.rows = scratch_.rows[cursor_part_ % 2] + cursor_chunk_;
    next_.num_rows = ChunkSlots(cursor_, cursor_chunk_);
    next_.page_rows = page_rows;
    next_.row_bytes = row_bytes_;
    next_.head_bytes = heads.head_bytes;
    next_.head_begin = heads.begin * heads.head_bytes + (cursor_values_ ? heads.value_bytes : 0);
    next_.head_end = next_.head_begin + (heads.end - heads.begin) * heads.head_bytes;
    next_.offset = next_.head_begin;
    next_.page_end = std::min(next_.num_rows, page_rows - (cursor_.slot_begin + cursor_chunk_) % page_rows);
    next_rows_ = next_.num_rows * (heads.end - heads.begin);
    cursor_chunk_ += kChunkSlots;
    if (cursor_chunk_ < cursor_.num_slots) return;
    cursor_chunk_ = 0;
    if (cursor_values_) {
      StartCursor(cursor_part_ + 1);
    } else {
      cursor_values_ = true;
    }
  }

  // The share of the next chunk that is fetched while stored head `head` of this one is computed.
  int FetchShare(const StoredHeads& heads, int head) const {
    const int count = heads.end - heads.begin;
    const int i = head - heads.begin;
    return next_rows_ * (i + 1) / count - next_rows_ * i / count;
  }

  void Scores(const Part& part, const uint8_t* const* rows) {
    const StoredHeads heads = HeadsOf(part.expert);
    const bool directly = kernels_.scores_directly != nullptr && kernels_.scores_directly(heads.rows_each / item_.num_queries, head_dim_);
    for (int chunk = 0; chunk < part.num_slots; chunk += kChunkSlots) {
      const int slots = ChunkSlots(part, chunk);
      NextChunk();
      for (int head = heads.begin; head < heads.end; ++head) {
        const int to_fetch = FetchShare(heads, head);
        const int64_t row = int64_t{head - heads.begin} * heads.rows_each;
        if (directly) {
          next_.budget = to_fetch;
          kernels_.score(query_ + row * key_words_, key_words_, rows + chunk, head * heads.head_bytes, slots, head_dim_,
                         scores_ + row * kPartSlots + chunk, kPartSlots, heads.rows_each, next_);
          continue;
        }
        // Packing takes about as long as multiplying four rows; the fetching is shared out accordingly.
        next_.budget = to_fetch * 4 / (4 + heads.rows_each);
        const int rest = to_fetch - next_.budget;
        kernels_.pack_keys(rows + chunk, head * heads.head_bytes, slots, head_dim_, next_, packed_);
        next_.budget = rest;
        kernels_.multiply(query_ + row * key_words_, key_words_, packed_, kChunkSlots, scores_ + row * kPartSlots + chunk,
                          kPartSlots, heads.rows_each, key_words_, static_cast<int>(RoundUp(slots, kMaxLanes)), false, next_);
      }
    }
  }

  void Weights(const Part& part) {
    const int padded = static_cast<int>(RoundUp(part.num_slots, kMaxLanes));
    for (int q = 0; q < item_.num_queries; ++q) {
      const int seen = VisibleSlots(layout_, sequence_, item_.query_begin + q, part.expert) - part.slot_begin;
      int visible = std::min(seen, part.num_slots);
      if (params_.window > 0 && visible > 0) visible = FindHidden(part, q, visible);
      for (int h = 0; h < item_.num_heads; ++h) {
        const int64_t row = int64_t{h} * item_.num_queries + q;
        if (visible > 0) {
          if (params_.soft_cap > 0) soft_cap_(scores_ + row * kPartSlots, visible, params_.soft_cap * kLog2E);
          for (int i = 0; i < num_hidden_; ++i) scores_[row * kPartSlots + scratch_.hidden[i]] = kHiddenScore;
          kernels_.softmax(scores_ + row * kPartSlots, visible, padded, part_max_ + row, part_sum_ + row);
        } else {
          std::memset(scores_ + row * kPartSlots, 0, sizeof(float) * padded);
          part_max_[row] = kMinusInfinity;
          part_sum_[row] = 0;
        }
      }
    }
  }

  // Lists the places, of the first `visible` of a part, that query q's window hides. Returns `visible`, or 0 if those are all.
  int FindHidden(const Part& part, int q, int visible) {
    const int32_t oldest = sequence_.first_position + item_.query_begin + q - params_.window + 1;
    const int32_t* positions = sequence_.kv.experts[part.expert].positions;
    const int gone = std::min(GonePlaces(part), visible);
    num_hidden_ = 0;
    for (int i = 0; i < gone; ++i) scratch_.hidden[num_hidden_++] = i;
    for (int i = gone; i < visible; ++i) {
      if (positions[part.slot_begin + i] < oldest) scratch_.hidden[num_hidden_++] = i;
    }
    return num_hidden_ < visible ? visible : 0;
  }

  void Values(const Part& part, const uint8_t* const* rows) {
    const StoredHeads heads = HeadsOf(part.expert);
    const auto* weights = reinterpret_cast<const uint32_t*>(scores_);
    for (int chunk = 0; chunk < part.num_slots; chunk += kChunkSlots) {
      const int slots = ChunkSlots(part, chunk);
      NextChunk();
      for (int head = heads.begin; head < heads.end; ++head) {
        next_.budget = FetchShare(heads, head);
        const int64_t offset = heads.value_bytes + head * heads.head_bytes;
        const int64_t row = int64_t{head - heads.begin} * heads.rows_each;
        kernels_.add_values(weights + row * kPartSlots + chunk / kernels_.slots_per_word, kPartSlots, rows + chunk, offset, slots,
                            head_dim_, padded_dim_, part_out_ + row * padded_dim_, heads.rows_each, chunk > 0, next_,
                            packed_);
      }
    }
  }

  void MergePart(const float* part_max, const float* part_sum, const float* part_out) {
    for (int64_t row = 0; row < num_rows_; ++row) {
      if (part_sum[row] == 0) continue;  // sees nothing of the part: as if it were not there
      kernels_.merge(part_max[row], part_sum[row], part_out + row * padded_dim_, padded_dim_, max_ + row, sum_ + row,
                     out_ + row * padded_dim_);
    }
  }

  void FinishRows() {
    for (int h = 0; h < item_.num_heads; ++h) {
      for (int q = 0; q < item_.num_queries; ++q) {
        const int64_t row = int64_t{h} * item_.num_queries + q;
        kernels_.finish(out_ + row * padded_dim_, sum_[row], head_dim_,
                        params_.out + QueryRow(q) * params_.out_stride + int64_t{item_.head_begin + h} * head_dim_);
      }
    }
  }

  const AttentionParams& params_;
  const KvLayout& layout_;
  const TileKernels& kernels_;
  void (*const soft_cap_)(float* x, int64_t count, float cap) = ActiveRowKernels().soft_cap;
  const WorkItem& item_;
  const AttentionSequence& sequence_;
  const Partials& partials_;
  Scratch& scratch_;
  const int32_t last_query_;
  const int num_rows_;
  const int head_dim_;
  const int padded_dim_;
  const int key_words_;
  const int64_t row_bytes_;
  uint32_t* query_ = nullptr;
  uint32_t* packed_ = nullptr;
  float* scores_ = nullptr;
  float* part_max_ = nullptr;
  float* part_sum_ = nullptr;
  float* part_out_ = nullptr;
  float* max_ = nullptr;
  float* sum_ = nullptr;
  float* out_ = nullptr;
  int32_t cursor_part_ = 0;
  bool cursor_values_ = false;
  int cursor_chunk_ = 0;
  Part cursor_;
  PrefetchRows next_;  // the chunk being fetched
  int next_rows_ = 0;  // of all its stored heads
  int num_hidden_ = 0;  // of scratch_.hidden
};

}  // namespace

void PagedAttention(const AttentionParams& params, ThreadPool& pool) {
  static thread_local AttentionPlan plan;
  static thread_local AlignedBuffer<float> partial_memory;
  MakeAttentionPlan(params, pool.num_threads(), &plan);
  const TileKernels& kernels = ActiveTileKernels(params.layout.dtype);
  Partials partials;
  if (plan.num_partials > 0) {
    const int64_t padded_dim = RoundUp(params.layout.head_dim, kDimPadding);
    partials.out = partial_memory.Reserve(plan.num_partials * (padded_dim + 2));
    partials.max = partials.out + plan.num_partials * padded_dim;
    partials.sum = partials.max + plan.num_partials;
  }
  const AttentionPlan& work = plan;  // thread_local: a worker must not look it up itself
  const auto run = [&](int64_t i, int) { ItemRunner(params, kernels, work.items[i], partials).Run(); };
  const int64_t count = static_cast<int64_t>(work.items.size());
  pool.ParallelFor(count, run, work.cost < kInlineCost ? std::max<int64_t>(1, count) : 1);
  pool.ParallelFor(static_cast<int64_t>(work.merges.size()),
                   [&](int64_t i, int) { ItemRunner(params, kernels, work.merges[i], partials).Merge(); });
}

}  // namespace ration::kernels::cpu
