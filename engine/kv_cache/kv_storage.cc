#include "engine/kv_cache/kv_storage.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/byte_size.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

// Below this the mapping holds too few 2 MiB pages for them to matter.
constexpr int64_t kHugePageWorthwhileBytes = int64_t{16} << 20;

// A mapping of no bytes is refused.
size_t MappedBytes(int64_t num_bytes) { return static_cast<size_t>(std::max<int64_t>(num_bytes, 1)); }

absl::Status CheckAddressable(int64_t num_pages, int64_t page_bytes) {
  if (num_pages <= std::numeric_limits<int64_t>::max() / page_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("KV pool of ", num_pages, " pages of ", page_bytes, " bytes is larger than any address space"));
}

absl::Status Refused(int64_t num_bytes) {
  return absl::ResourceExhaustedError(absl::StrCat("cannot map ", num_bytes, " bytes (", FormatByteSize(num_bytes),
                                                   ") for the KV pool: ", std::strerror(errno)));
}

// Attention streams whole pages of many sequences: fewer TLB misses. Advice only; a refusal changes nothing.
void AdviseHugePages(uint8_t* data, int64_t num_bytes) {
  if (num_bytes >= kHugePageWorthwhileBytes) madvise(data, MappedBytes(num_bytes), MADV_HUGEPAGE);
}

}  // namespace

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::Create(int64_t num_pages, int64_t page_bytes) {
  RATION_CHECK(num_pages >= 0 && page_bytes > 0);
  RATION_RETURN_IF_ERROR(CheckAddressable(num_pages, page_bytes));
  const int64_t num_bytes = num_pages * page_bytes;
  void* data = mmap(nullptr, MappedBytes(num_bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return Refused(num_bytes);
  AdviseHugePages(static_cast<uint8_t*>(data), num_bytes);
  return absl::WrapUnique(new KvStorage(static_cast<uint8_t*>(data), num_bytes, page_bytes));
}

absl::Status KvStorage::Resize(int64_t num_pages) {
  RATION_CHECK(num_pages >= 0);
  RATION_RETURN_IF_ERROR(CheckAddressable(num_pages, page_bytes_));
  const int64_t num_bytes = num_pages * page_bytes_;
  void* const data = mremap(data_, MappedBytes(num_bytes_), MappedBytes(num_bytes), MREMAP_MAYMOVE);
  if (data == MAP_FAILED) return Refused(num_bytes);
  data_ = static_cast<uint8_t*>(data);
  num_bytes_ = num_bytes;
  AdviseHugePages(data_, num_bytes_);
  return absl::OkStatus();
}

KvStorage::~KvStorage() { munmap(data_, MappedBytes(num_bytes_)); }

}  // namespace ration
