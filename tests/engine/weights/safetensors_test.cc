// Tests engine/weights/safetensors.cc and safetensors_writer.cc: what is written reads back, and no file, however
// broken or hostile, is anything but a clear error.
#include "engine/weights/safetensors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/weights/safetensors_writer.h"

namespace ration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string TempPath(const std::string& name) { return ::testing::TempDir() + "/" + name; }

std::string ReadBytes(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream bytes;
  bytes << stream.rdbuf();
  return bytes.str();
}

// A file of this header and so many bytes of data.
std::string File(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), 8);
  return bytes + header + std::string(data_bytes, '\x3c');
}

absl::Status ParseError(const std::string& bytes) { return SafetensorsFile::Parse(bytes, "x.safetensors").status(); }

std::string Message(const std::string& bytes) {
  const absl::Status status = ParseError(bytes);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bytes;
  EXPECT_THAT(std::string(status.message()), StartsWith("x.safetensors: "));
  EXPECT_LT(status.message().size(), 1500u);
  return std::string(status.message());
}

constexpr char kGood[] =
    R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]}})";

TEST(SafetensorsTest, ReadsDtypesShapesAndData) {
  const std::string bytes = File(
      R"({"__metadata__":{"format":"pt","a":"b"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[2,26]},)"
      R"("scalar":{"shape":[],"data_offsets":[0,2],"dtype":"BF16"},"empty":{"dtype":"F16","shape":[4,0,9],"data_offsets":[2,2]}}   )",
      26);
  const auto file = SafetensorsFile::Parse(bytes, "x");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->tensors().size(), 3u);
  const auto* w = (*file)->Find("w");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->dtype, StoredDType::kF32);
  EXPECT_EQ(w->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(w->num_bytes, 24);
  EXPECT_EQ(w->data, reinterpret_cast<const uint8_t*>(bytes.data()) + bytes.size() - 24);
  EXPECT_EQ((*file)->Find("scalar")->dtype, StoredDType::kBF16);
  EXPECT_EQ((*file)->Find("empty")->num_bytes, 0);
  EXPECT_EQ((*file)->Find("__metadata__"), nullptr);
  EXPECT_EQ((*file)->Find("v"), nullptr);
  EXPECT_TRUE(SafetensorsFile::Parse(File("{}", 0), "x").ok());
}

TEST(SafetensorsTest, RefusesBrokenHeadersSayingWhatIsWrong) {
  const auto one = [](const std::string& fields, size_t data = 4) {
    return Message(File("{\"t\":" + fields + "}", data));
  };
  EXPECT_THAT(Message(""), HasSubstr("0 bytes long"));
  EXPECT_THAT(Message("1234567"), HasSubstr("7 bytes long"));
  EXPECT_THAT(Message(std::string(8, '\0')), HasSubstr("'{'"));
  EXPECT_THAT(Message(std::string(8, '\xff') + "{}"),
              HasSubstr("header length 18446744073709551615 exceeds the limit of 100000000"));
  EXPECT_THAT(Message(std::string("\x03\0\0\0\0\0\0\0{}", 10)), HasSubstr("header length 3 exceeds the 2 bytes"));
  EXPECT_THAT(Message(File("[]", 0)), HasSubstr("'{'"));
  EXPECT_THAT(Message(File(" {}", 0)), HasSubstr("'{'"));
  EXPECT_THAT(Message(File("{", 0)), HasSubstr("not valid JSON"));
  EXPECT_THAT(Message(File("{}{}", 0)), HasSubstr("not valid JSON"));
  EXPECT_THAT(Message(File(std::string("{}\0", 3), 0)), HasSubstr("NUL"));
  EXPECT_THAT(Message(File("{\"\xff\":{}}", 0)), HasSubstr("not valid JSON"));
  EXPECT_THAT(Message(File("{}", 5)), HasSubstr("5 bytes after the last tensor"));

  EXPECT_THAT(one("[]"), HasSubstr("tensor \"t\" must be an object, not an array"));
  EXPECT_THAT(one("null"), HasSubstr("not null"));
  EXPECT_THAT(one("{}"), HasSubstr("tensor \"t\": dtype is missing"));
  EXPECT_THAT(one(R"({"dtype":"F32","data_offsets":[0,4]})"), HasSubstr("tensor \"t\": shape is missing"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1]})"), HasSubstr("tensor \"t\": data_offsets is missing"));
  EXPECT_THAT(one(R"({"dtype":"I64","shape":[1],"data_offsets":[0,4]})"),
              HasSubstr("tensor \"t\": dtype \"I64\" is not supported"));
  EXPECT_THAT(one(R"({"dtype":1,"shape":[1],"data_offsets":[0,4]})"), HasSubstr("dtype must be text"));
  EXPECT_THAT(one(R"({"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]})"),
              HasSubstr("\"dtype\" occurs twice"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1})"), HasSubstr("unknown key \"x\""));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"),
              HasSubstr("shape must hold non-negative integers, not the negative number -1"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,4]})"), HasSubstr("shape must hold"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":["1"],"data_offsets":[0,4]})"), HasSubstr("shape must hold"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[[1]],"data_offsets":[0,4]})"), HasSubstr("shape must hold"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":1,"data_offsets":[0,4]})"), HasSubstr("must be arrays"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]})"),
              HasSubstr("more than 8 dimensions"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0]})"), HasSubstr("must have 2 entries"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,4]})"), HasSubstr("more than 2 entries"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), HasSubstr("run backwards"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,-4]})"), HasSubstr("data_offsets must hold"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"), HasSubstr("exceed the 4 bytes of data"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]})"),
              HasSubstr("exceed the 4 bytes"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]})"),
              HasSubstr("data_offsets must hold"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"),
              HasSubstr("span 4 bytes, but F32 of shape [2] needs 8"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]})"),
              HasSubstr("too many elements"));  // 4 x it wraps to 4
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]})"),
              HasSubstr("too many elements"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]})", 0),
              HasSubstr("too many elements"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]})"),
              HasSubstr("too many elements"));
}

TEST(SafetensorsTest, RefusesDuplicatesOverlapsAndHoles) {
  const std::string f32 = R"("dtype":"F32","shape":[1],"data_offsets":)";
  const auto two = [&](const std::string& first, const std::string& second) {
    return absl::StrCat("{", first, f32, "[0,4]},", second, f32);
  };
  EXPECT_THAT(Message(File(two("\"a\":{", "\"a\":{") + "[4,8]}}", 8)), HasSubstr("tensor \"a\" occurs twice"));
  EXPECT_THAT(Message(File(two("\"a\":{", "\"\\u0061\":{") + "[4,8]}}", 8)), HasSubstr("tensor \"a\" occurs twice"));
  EXPECT_THAT(Message(File(two("\"a\":{", "\"b\":{") + "[0,4]}}", 4)),
              HasSubstr("inside another tensor that ends at 4"));
  EXPECT_THAT(Message(File(two("\"a\":{", "\"b\":{") + "[2,6]}}", 6)),
              AllOf(HasSubstr("tensor \"b\": starts at 2"), HasSubstr("inside another")));
  EXPECT_THAT(Message(File(two("\"a\":{", "\"b\":{") + "[6,10]}}", 10)),
              AllOf(HasSubstr("tensor \"b\": starts at 6"), HasSubstr("hole after 4")));
  EXPECT_THAT(Message(File(absl::StrCat("{\"a\":{", f32, "[1,5]}}"), 5)), HasSubstr("hole after 0"));
  EXPECT_THAT(Message(File(R"({"__metadata__":{"a":"b","a":"c"}})", 0)), HasSubstr("\"a\" occurs twice"));
  EXPECT_THAT(Message(File(R"({"__metadata__":{},"__metadata__":{}})", 0)), HasSubstr("\"__metadata__\" occurs twice"));
  EXPECT_THAT(Message(File(R"({"__metadata__":{"a":1}})", 0)), HasSubstr("must hold text, not the number 1"));
  EXPECT_THAT(Message(File(R"({"__metadata__":{"a":{}}})", 0)), HasSubstr("must hold text, not an object"));
  EXPECT_THAT(Message(File(R"({"__metadata__":[]})", 0)), HasSubstr("must be an object"));
}

TEST(SafetensorsTest, HostileNamesCannotForgeLogLinesOrFloodThem) {
  EXPECT_THAT(Message(File("{\"a\\nERROR: forged\":{}}", 0)), HasSubstr("\\nERROR"));
  Message(File(absl::StrCat("{\"", std::string(1 << 20, 'n'), "\":{}}"), 0));
  Message(File("{\"t\":" + std::string(1 << 20, '['), 0));
  Message(File("{\"t\":{\"dtype\":\"" + std::string(1 << 20, 'F') + "\",\"shape\":[],\"data_offsets\":[0,4]}}", 4));
  Message(File("{\"t\":{\"dtype\":\"F32\",\"shape\":[" + std::string(1 << 20, '1') + "],\"data_offsets\":[0,4]}}", 4));
}

TEST(SafetensorsTest, EveryTruncationIsAnError) {
  const std::string bytes = File(kGood, 26);
  ASSERT_TRUE(SafetensorsFile::Parse(bytes, "x").ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    // In a buffer of its own, so that a sanitizer sees a read past the end.
    const std::vector<char> cut(bytes.begin(), bytes.begin() + static_cast<int64_t>(size));
    const auto file = SafetensorsFile::Parse(absl::string_view(cut.data(), cut.size()), "x");
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << "cut to " << size << " bytes";
  }
  EXPECT_FALSE(SafetensorsFile::Parse(bytes + "x", "x").ok());
}

TEST(SafetensorsTest, AnyFlippedBitLeavesTensorsInsideTheFile) {
  const std::string good = File(kGood, 26);
  const auto touch = [](const std::string& bytes) {
    const std::vector<char> copy(bytes.begin(), bytes.end());
    const auto file = SafetensorsFile::Parse(absl::string_view(copy.data(), copy.size()), "x");
    if (!file.ok()) {
      EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
      return;
    }
    const uint8_t* begin = reinterpret_cast<const uint8_t*>(copy.data());
    for (const auto& [name, tensor] : (*file)->tensors()) {
      ASSERT_GE(tensor.data, begin);
      ASSERT_LE(tensor.data + tensor.num_bytes, begin + copy.size());
      uint64_t sum = 0;
      for (int64_t i = 0; i < tensor.num_bytes; ++i) sum += tensor.data[i];
      EXPECT_EQ(sum, static_cast<uint64_t>(tensor.num_bytes) * 0x3c);
    }
  };
  for (size_t bit = 0; bit < (good.size() - 26) * 8; ++bit) {
    std::string bytes = good;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    touch(bytes);
  }
  std::mt19937_64 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (uint64_t edits = 1 + random() % 4; edits > 0; --edits)
      bytes[random() % (bytes.size() - 26)] = static_cast<char>(random() % 128);
    touch(bytes);
  }
}

TEST(SafetensorsTest, OpenSaysWhyAFileCannotBeRead) {
  const auto error = [](const std::string& path) {
    const absl::Status status = SafetensorsFile::Open(path).status();
    EXPECT_THAT(std::string(status.message()), StartsWith(path));
    return status.code();
  };
  EXPECT_EQ(error(TempPath("missing.safetensors")), absl::StatusCode::kNotFound);
  EXPECT_EQ(error(::testing::TempDir()), absl::StatusCode::kInvalidArgument);  // a directory
  const std::string fifo = TempPath("fifo.safetensors");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(error(fifo), absl::StatusCode::kInvalidArgument);  // and does not wait for a writer
  unlink(fifo.c_str());
  const std::string empty = TempPath("empty.safetensors");
  std::ofstream(empty).close();
  EXPECT_EQ(error(empty), absl::StatusCode::kInvalidArgument);
  if (geteuid() != 0) {
    chmod(empty.c_str(), 0);
    EXPECT_EQ(error(empty), absl::StatusCode::kPermissionDenied);
  }
  unlink(empty.c_str());
}

TEST(SafetensorsWriterTest, WhatIsWrittenReadsBack) {
  const std::string path = TempPath("written.safetensors");
  at::manual_seed(1);
  const absl::btree_map<std::string, at::Tensor> tensors = {
      {"a.half", at::randn({3}).to(at::kHalf)},
      {"b.float", at::randn({5, 7}).t()},  // not contiguous
      {"c.bfloat", at::randn({2, 1, 3}).to(at::kBFloat16)},
      {"d.empty", at::empty({0, 4})},
      {"e.scalar", at::full({}, 2.5f)},
      {"f \"quoted\" \u00e9", at::randn({1})},
  };
  ASSERT_TRUE(WriteSafetensors(path, tensors, {{"format", "pt"}, {"note", "x"}}).ok());
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);

  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->tensors().size(), tensors.size());
  EXPECT_EQ((*file)->path(), path);
  for (const auto& [name, tensor] : tensors) {
    const auto* read = (*file)->Find(name);
    ASSERT_NE(read, nullptr) << name;
    EXPECT_EQ(at::IntArrayRef(read->shape), tensor.sizes()) << name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(read->data) % tensor.element_size(), 0u) << name;
    const at::Tensor contiguous = tensor.contiguous();
    ASSERT_EQ(read->num_bytes, static_cast<int64_t>(contiguous.nbytes()));
    if (read->num_bytes == 0) continue;  // an empty tensor has no data pointer to compare
    EXPECT_EQ(std::memcmp(read->data, contiguous.data_ptr(), contiguous.nbytes()), 0) << name;
  }
  unlink(path.c_str());
}

TEST(SafetensorsWriterTest, ReplacesAFileWhileItIsMapped) {
  const std::string path = TempPath("replaced.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, {{"t", at::full({4}, 1.0f)}}).ok());
  const auto before = SafetensorsFile::Open(path);
  ASSERT_TRUE(WriteSafetensors(path, {{"t", at::full({2}, 2.0f)}}).ok());
  const auto after = SafetensorsFile::Open(path);
  ASSERT_TRUE(before.ok() && after.ok());
  float value = 0;
  std::memcpy(&value, (*before)->Find("t")->data, 4);
  EXPECT_EQ(value, 1.0f);
  std::memcpy(&value, (*after)->Find("t")->data, 4);
  EXPECT_EQ(value, 2.0f);
  unlink(path.c_str());
}

TEST(SafetensorsWriterTest, FailureNamesTheCauseAndLeavesNothingBehind) {
  const std::string directory = TempPath("writer_failure");
  std::filesystem::create_directory(directory);
  const std::string path = directory + "/x.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, {{"t", at::ones({1})}}).ok());
  const std::string before = ReadBytes(path);
  const absl::Status dtype = WriteSafetensors(path, {{"a", at::ones({1})}, {"t", at::ones({1}, at::kLong)}});
  EXPECT_EQ(dtype.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(dtype.message()), AllOf(HasSubstr("\"t\""), HasSubstr("Long")));
  EXPECT_EQ(WriteSafetensors(path, {{"t", at::Tensor()}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteSafetensors(path, {{"\xff", at::ones({1})}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteSafetensors(path, {{"__metadata__", at::ones({1})}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadBytes(path), before);
  EXPECT_EQ(WriteSafetensors(directory + "/no/x.safetensors", {{"t", at::ones({1})}}).code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(WriteSafetensors(directory, {{"t", at::ones({1})}}).ok());  // a directory is in the way
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), 1);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace ration
