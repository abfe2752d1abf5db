// The bytes of the KV pool: one anonymous mapping of num_pages * page_bytes. Pages that were never written cost no memory.
// Layer: engine/kv_cache. Thread-compatible.
#ifndef RATION_ENGINE_KV_CACHE_KV_STORAGE_H_
#define RATION_ENGINE_KV_CACHE_KV_STORAGE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace ration {

class KvStorage {
 public:
  // ResourceExhausted (with the bytes asked for) if the mapping is refused. REQUIRES: num_pages >= 0, page_bytes > 0.
  static absl::StatusOr<std::unique_ptr<KvStorage>> Create(int64_t num_pages, int64_t page_bytes);
  ~KvStorage();
  KvStorage(const KvStorage&) = delete;
  KvStorage& operator=(const KvStorage&) = delete;

  // Makes room for `num_pages` pages. Those in both keep their bytes; the memory of those that go is given back to the operating
  // system. data() may change. ResourceExhausted (and nothing changed) if more is refused. REQUIRES: num_pages >= 0.
  absl::Status Resize(int64_t num_pages);

  // Page p starts at data() + p * page_bytes; 64-byte aligned if page_bytes is.
  uint8_t* data() { return data_; }
  int64_t num_bytes() const { return num_bytes_; }

 private:
  KvStorage(uint8_t* data, int64_t num_bytes, int64_t page_bytes)
      : data_(data), num_bytes_(num_bytes), page_bytes_(page_bytes) {}

  uint8_t* data_;
  int64_t num_bytes_;
  const int64_t page_bytes_;
};

}  // namespace ration

#endif  // RATION_ENGINE_KV_CACHE_KV_STORAGE_H_
