// See the header.
#include "engine/ops/weight_memory.h"

#include <sys/mman.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace ration {
namespace {

constexpr int64_t kHugePageBytes = 2 << 20;

}  // namespace

absl::StatusOr<WeightMemory> WeightMemory::Allocate(int64_t num_bytes) {
  const bool huge = num_bytes >= kHugePageBytes;
  const int64_t mapping_bytes = huge ? num_bytes + kHugePageBytes : num_bytes;
  void* mapping = mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", num_bytes, " bytes of packed weights"));
  }
  uint8_t* data = static_cast<uint8_t*>(mapping);
  if (huge) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(data);
    data += (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
    // The last, partly used huge page stays on small pages. Only advice: without huge pages all works, slower.
    madvise(data, num_bytes / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE);
  }
  return WeightMemory(mapping, mapping_bytes, data);
}

WeightMemory::WeightMemory(void* mapping, int64_t mapping_bytes, uint8_t* data)
    : mapping_(mapping), mapping_bytes_(mapping_bytes), data_(data) {}

WeightMemory::WeightMemory(WeightMemory&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)), mapping_bytes_(other.mapping_bytes_), data_(other.data_) {}

WeightMemory& WeightMemory::operator=(WeightMemory&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_bytes_, other.mapping_bytes_);
  std::swap(data_, other.data_);
  return *this;
}

WeightMemory::~WeightMemory() {
  if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
}

}  // namespace ration
