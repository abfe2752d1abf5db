// See the header.
#include "engine/ops/weight_memory.h"

#include <sys/mman.h>

#include <mutex>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace ration {
namespace {

constexpr int64_t kHugePageBytes = 2 << 20;
// Of a shared chunk; larger requests get one of their own. Only touched pages take memory.
constexpr int64_t kChunkBytes = 64 << 20;
constexpr int64_t kAlignment = 64;

constexpr int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

// One mapping, handed out front to back and never again.
class WeightMemory::Chunk {
 public:
  // nullptr if the system refuses.
  static std::shared_ptr<Chunk> Map(int64_t num_bytes) {
    const int64_t mapping_bytes = num_bytes + kHugePageBytes;
    void* mapping =
        mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return nullptr;
    auto chunk = std::make_shared<Chunk>();
    chunk->mapping_ = mapping;
    chunk->mapping_bytes_ = mapping_bytes;
    chunk->next_ = static_cast<uint8_t*>(mapping) + (RoundUp(reinterpret_cast<uintptr_t>(mapping), kHugePageBytes) -
                                                     reinterpret_cast<uintptr_t>(mapping));
    chunk->end_ = chunk->next_ + num_bytes;
    madvise(chunk->next_, num_bytes, MADV_HUGEPAGE);  // only advice: without huge pages all works, slower
    return chunk;
  }
  Chunk() = default;
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
  ~Chunk() {
    if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
  }

  // nullptr if there is not enough left.
  uint8_t* Take(int64_t num_bytes) {
    if (end_ - next_ < num_bytes) return nullptr;
    uint8_t* data = next_;
    next_ += RoundUp(num_bytes, kAlignment);
    return data;
  }

 private:
  void* mapping_ = nullptr;
  int64_t mapping_bytes_ = 0;
  uint8_t* next_ = nullptr;
  uint8_t* end_ = nullptr;
};

absl::StatusOr<WeightMemory> WeightMemory::Allocate(int64_t num_bytes) {
  static std::mutex mutex;
  static std::weak_ptr<Chunk> current;  // the chunk that small pieces come from
  const auto refused = [num_bytes] {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", num_bytes, " bytes of packed weights"));
  };
  if (num_bytes > kChunkBytes / 2) {
    std::shared_ptr<Chunk> own = Chunk::Map(RoundUp(num_bytes, kHugePageBytes));
    if (own == nullptr) return refused();
    uint8_t* data = own->Take(num_bytes);
    return WeightMemory(std::move(own), data);
  }
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Chunk> chunk = current.lock();
  uint8_t* data = chunk == nullptr ? nullptr : chunk->Take(num_bytes);
  if (data == nullptr) {
    chunk = Chunk::Map(kChunkBytes);
    if (chunk == nullptr) return refused();
    current = chunk;
    data = chunk->Take(num_bytes);
  }
  return WeightMemory(std::move(chunk), data);
}

WeightMemory::WeightMemory(std::shared_ptr<Chunk> chunk, uint8_t* data) : chunk_(std::move(chunk)), data_(data) {}

}  // namespace ration
