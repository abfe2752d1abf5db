#include "client/bench/trace_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/bench/input_file.h"

namespace ration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kHeader[] = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

TEST(TraceFileTest, ReadsAzureTracesAndCountsSecondsFromTheFirstRequest) {
  const auto trace = ParseTrace(absl::StrCat(kHeader,
                                             "2023-11-16 18:15:46.6805900,374,44\r\n"
                                             "2023-11-16 18:15:50.9951690,396,109\n"),
                                "t.csv");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 2u);
  EXPECT_EQ((*trace)[0].seconds, 0);
  EXPECT_EQ((*trace)[0].prompt_tokens, 374);
  EXPECT_EQ((*trace)[0].output_tokens, 44);
  EXPECT_NEAR((*trace)[1].seconds, 4.314579, 1e-6);
  EXPECT_EQ((*trace)[1].output_tokens, 109);
}

TEST(TraceFileTest, ReadsMooncakeTracesInOrderOfArrival) {
  const auto trace = ParseTrace(
      "{\"timestamp\": 3000, \"input_length\": 7, \"output_length\": 5, \"hash_ids\": [0, 1]}\n"
      "{\"timestamp\": 1500, \"input_length\": 6758, \"output_length\": 500}\n\n",
      "t.jsonl");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 2u);
  EXPECT_EQ((*trace)[0].prompt_tokens, 6758);
  EXPECT_EQ((*trace)[0].seconds, 0);
  EXPECT_DOUBLE_EQ((*trace)[1].seconds, 1.5);
}

struct BadTrace {
  std::string content;
  std::string place;  // "t:2"
  std::string problem;
};

TEST(TraceFileTest, BadTracesAreRefusedWithFileLineAndProblem) {
  const std::string good = "2023-11-16 18:15:46,1,1\n";
  const std::string json = "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1}\n";
  const BadTrace bad[] = {
      {"", "t:1", "expected the header"},
      {"a,b,c\n1,2,3\n", "t:1", "found \"a,b,c\""},
      {kHeader, "t", "no requests"},
      {kHeader + good + "2023-11-16 18:15:46,1\n", "t:3", "2 found"},
      {kHeader + good + good + "2023-11-16 18:15:46,1,1,1\n", "t:4", "4 found"},
      {absl::StrCat(kHeader, "yesterday,1,1\n"), "t:2", "TIMESTAMP must be a time"},
      {absl::StrCat(kHeader, "infinite-future,1,1\n"), "t:2", "TIMESTAMP must be a time"},
      {absl::StrCat(kHeader, "2023-11-16 18:15:46,-1,1\n"), "t:2", "ContextTokens must be a whole number"},
      {absl::StrCat(kHeader, "2023-11-16 18:15:46,1,99999999999999999999\n"), "t:2", "GeneratedTokens must be"},
      {absl::StrCat(kHeader, "2023-11-16 18:15:46,1,\x1b[2J\n"), "t:2", "not \"\\x1b[2J\""},
      {json + "{\"timestamp\": 0\n", "t:2", "not a JSON object"},
      {json + "[1]\n", "t:2", "not a JSON object"},
      {json + "{\"input_length\": 1, \"output_length\": 1}\n", "t:2", "no field \"timestamp\""},
      {json + "{\"timestamp\": -5, \"input_length\": 1, \"output_length\": 1}\n", "t:2", "\"timestamp\" must be"},
      {json + "{\"timestamp\": 1e300, \"input_length\": 1, \"output_length\": 1}\n", "t:2", "\"timestamp\" must be"},
      {json + "{\"timestamp\": 0, \"output_length\": 1}\n", "t:2", "no field \"input_length\""},
      {json + "{\"timestamp\": 0, \"input_length\": 1.5, \"output_length\": 1}\n", "t:2", "not \"1.5\""},
      {json + "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 18446744073709551615}\n", "t:2",
       "not \"18446744073709551615\""},
  };
  for (const BadTrace& trace : bad) {
    const absl::Status status = ParseTrace(trace.content, "t").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << trace.content;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(absl::StrCat(trace.place, ": ")), HasSubstr(trace.problem)));
  }
}

TEST(TraceFileTest, AFileThatIsNotThereIsNamed) {
  const absl::Status status = ReadTrace("/no/such/trace.csv").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/trace.csv"));
}

TEST(InputFileTest, FilesAreReadUpToTheirLimitAndTextsUpToACharacter) {
  const std::string path = ::testing::TempDir() + "/text";
  std::ofstream(path) << "a\xC3\xA4\xE2\x82\xAC";  // one, two and three bytes
  EXPECT_EQ(*ReadInputFile(path, 6), "a\xC3\xA4\xE2\x82\xAC");
  EXPECT_EQ(ReadInputFile(path, 5).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*ReadTextBeginning(path, 6), "a\xC3\xA4\xE2\x82\xAC");
  EXPECT_EQ(*ReadTextBeginning(path, 5), "a\xC3\xA4");
  EXPECT_EQ(*ReadTextBeginning(path, 4), "a\xC3\xA4");
  EXPECT_EQ(*ReadTextBeginning(path, 3), "a\xC3\xA4");
  EXPECT_EQ(*ReadTextBeginning(path, 2), "a");
}

TEST(TraceFileTest, PublishedTracesAreReadWhole) {
  const char* shared = std::getenv("RATION_SHARED");
  if (shared == nullptr) GTEST_SKIP() << "RATION_SHARED is not set: the published traces are NOT tested";
  const std::string folder = absl::StrCat(shared, "/data/traces/");
  const auto azure = ReadTrace(folder + "azure-llm-2023/AzureLLMInferenceTrace_conv.csv");
  ASSERT_TRUE(azure.ok()) << azure.status();
  EXPECT_EQ(azure->size(), 19366u);
  EXPECT_NEAR(azure->back().seconds, 3502, 1);
  const auto mooncake = ReadTrace(folder + "mooncake-fast25/conversation_trace.jsonl");
  ASSERT_TRUE(mooncake.ok()) << mooncake.status();
  EXPECT_EQ(mooncake->size(), 12031u);
}

}  // namespace
}  // namespace ration
