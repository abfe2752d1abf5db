#include "engine/kv_cache/kv_storage.h"

#include <cstring>

#include <gtest/gtest.h>

namespace ration {
namespace {

TEST(KvStorage, IsWritableAlignedAndZeroAtFirst) {
  const auto storage = *KvStorage::Create(100, 4160);
  EXPECT_EQ(storage->num_bytes(), 416000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(storage->data()) % 64, 0u);
  for (int64_t i = 0; i < storage->num_bytes(); i += 97) ASSERT_EQ(storage->data()[i], 0);
  std::memset(storage->data(), 0xab, storage->num_bytes());
  EXPECT_EQ(storage->data()[storage->num_bytes() - 1], 0xab);
}

TEST(KvStorage, ALargePoolCostsNothingUntilItIsWritten) {
  const auto storage = KvStorage::Create(1 << 20, 16384);  // 16 GiB
  ASSERT_TRUE(storage.ok()) << storage.status();
  (*storage)->data()[(*storage)->num_bytes() - 1] = 1;
}

TEST(KvStorage, NoPagesIsAnEmptyPool) { EXPECT_EQ((*KvStorage::Create(0, 64))->num_bytes(), 0); }

TEST(KvStorage, ARefusedMappingNamesItsSize) {
  const auto huge = KvStorage::Create(int64_t{1} << 30, int64_t{1} << 30);  // 1 EiB
  EXPECT_EQ(huge.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(huge.status().message().find("1152921504606846976 bytes (1.00 EiB)"), absl::string_view::npos)
      << huge.status();
  EXPECT_EQ(KvStorage::Create(int64_t{1} << 40, int64_t{1} << 40).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace ration
