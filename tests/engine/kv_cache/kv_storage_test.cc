#include "engine/kv_cache/kv_storage.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

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

// What of a storage's mapping is in memory, in bytes.
int64_t ResidentBytes(KvStorage& storage) {
  const int64_t system_page = sysconf(_SC_PAGESIZE);
  std::vector<unsigned char> resident((storage.num_bytes() + system_page - 1) / system_page);
  EXPECT_EQ(mincore(storage.data(), storage.num_bytes(), resident.data()), 0) << std::strerror(errno);
  return std::count_if(resident.begin(), resident.end(), [](unsigned char c) { return (c & 1) != 0; }) * system_page;
}

// What the process has in memory, in bytes.
int64_t ResidentBytes() {
  int64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST(KvStorage, MorePagesKeepTheBytesOfTheOldOnes) {
  const auto storage = *KvStorage::Create(3, 4160);
  for (int64_t i = 0; i < storage->num_bytes(); ++i) storage->data()[i] = static_cast<uint8_t>(i * 7 % 251);
  ASSERT_TRUE(storage->Resize(5000).ok());
  EXPECT_EQ(storage->num_bytes(), 5000 * 4160);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(storage->data()) % 64, 0u);
  for (int64_t i = 0; i < 3 * 4160; ++i) ASSERT_EQ(storage->data()[i], static_cast<uint8_t>(i * 7 % 251)) << i;
  storage->data()[storage->num_bytes() - 1] = 1;
  ASSERT_TRUE(storage->Resize(2).ok());
  EXPECT_EQ(storage->num_bytes(), 2 * 4160);
  for (int64_t i = 0; i < 2 * 4160; ++i) ASSERT_EQ(storage->data()[i], static_cast<uint8_t>(i * 7 % 251)) << i;
}

TEST(KvStorage, FewerPagesGiveTheMemoryBackToTheSystem) {
  constexpr int64_t kPage = 16384, kPages = 4096;  // 64 MiB
  const auto storage = *KvStorage::Create(kPages, kPage);
  std::memset(storage->data(), 1, storage->num_bytes());
  EXPECT_EQ(ResidentBytes(*storage), kPages * kPage);
  const int64_t before = ResidentBytes();
  ASSERT_TRUE(storage->Resize(kPages / 8).ok());
  EXPECT_EQ(ResidentBytes(*storage), kPages / 8 * kPage);
  EXPECT_LT(ResidentBytes(), before - kPages * kPage * 3 / 4);
  ASSERT_TRUE(storage->Resize(0).ok());
  EXPECT_EQ(storage->num_bytes(), 0);
  // What comes back is fresh.
  ASSERT_TRUE(storage->Resize(kPages).ok());
  EXPECT_EQ(storage->data()[storage->num_bytes() / 2], 0);
}

TEST(KvStorage, ARefusedSizeChangesNothing) {
  const auto storage = *KvStorage::Create(2, int64_t{1} << 20);
  storage->data()[0] = 17;
  storage->data()[storage->num_bytes() - 1] = 18;
  const uint8_t* const data = storage->data();
  const absl::Status huge = storage->Resize(int64_t{1} << 40);  // 1 EiB
  EXPECT_EQ(huge.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(huge.message().find("1152921504606846976 bytes (1.00 EiB)"), absl::string_view::npos) << huge;
  EXPECT_EQ(storage->Resize(int64_t{1} << 60).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(storage->num_bytes(), int64_t{2} << 20);
  EXPECT_EQ(storage->data(), data);
  EXPECT_EQ(data[0], 17);
  EXPECT_EQ(data[storage->num_bytes() - 1], 18);
}

}  // namespace
}  // namespace ration
