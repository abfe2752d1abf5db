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

namespace ration {
namespace {

// Below this the mapping holds too few 2 MiB pages for them to matter.
constexpr int64_t kHugePageWorthwhileBytes = int64_t{16} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<KvStorage>> KvStorage::Create(int64_t num_pages, int64_t page_bytes) {
  RATION_CHECK(num_pages >= 0 && page_bytes > 0);
  if (num_pages > std::numeric_limits<int64_t>::max() / page_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("KV pool of ", num_pages, " pages of ", page_bytes, " bytes is larger than any address space"));
  }
  const int64_t num_bytes = num_pages * page_bytes;
  const size_t mapped = static_cast<size_t>(std::max<int64_t>(num_bytes, 1));  // a mapping of no bytes is refused
  void* data = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot map ", num_bytes, " bytes (", FormatByteSize(num_bytes),
                                                     ") for the KV pool: ", std::strerror(errno)));
  }
  // Attention streams whole pages of many sequences: fewer TLB misses. Advice only; a refusal changes nothing.
  if (num_bytes >= kHugePageWorthwhileBytes) madvise(data, mapped, MADV_HUGEPAGE);
  return absl::WrapUnique(new KvStorage(static_cast<uint8_t*>(data), num_bytes));
}

KvStorage::~KvStorage() { munmap(data_, static_cast<size_t>(std::max<int64_t>(num_bytes_, 1))); }

}  // namespace ration
