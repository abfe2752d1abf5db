// Directories as people have them after a broken download or a wrong copy: any one file missing, empty, cut off, or another model's.
// Each gives one line that names the file, tensor or key (rationd prints it and exits with 2), or a server that works.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "engine/base/clock.h"
#include "engine/engine_factory.h"
#include "tests/testing/family_checkpoint.h"

namespace ration {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

absl::Status Load(const std::string& directory, UntrainedRouting untrained = {}) {
  EngineFactoryOptions options;
  options.directory = directory;
  options.kv_budget_bytes = 4 << 20;
  options.untrained_routing = untrained;
  return LoadEngine(options, Clock::Real()).status();
}

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void Write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

class ModelDirectoryTest : public ::testing::TestWithParam<TestFamily> {};

TEST_P(ModelDirectoryTest, LoadsPlainAndRoutedAndSqueezed) {
  FamilyCheckpointOptions options;
  for (bool routed : {false, true}) {
    options.routed = routed;
    const FamilyCheckpoint files(GetParam(), options);
    EXPECT_TRUE(Load(files.directory()).ok()) << Load(files.directory());
    UntrainedRouting recency;
    recency.kind = UntrainedRouting::Kind::kRecency;
    EXPECT_EQ(Load(files.directory(), recency).ok(), !routed);
  }
}

TEST_P(ModelDirectoryTest, AnyOneFileDamagedIsNamedInOneLine) {
  FamilyCheckpointOptions options;
  options.routed = true;
  const FamilyCheckpoint files(GetParam(), options);
  const TestFamily stranger = GetParam() == TestFamily::kGemma2 ? TestFamily::kOpt : TestFamily::kGemma2;
  const FamilyCheckpoint other(stranger, options);
  for (const std::string name : {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"}) {
    const std::string whole = Read(files.File(name));
    ASSERT_FALSE(whole.empty()) << name;
    for (const std::string damage : {"missing", "empty", "cut", "other"}) {
      SCOPED_TRACE(absl::StrCat(name, " ", damage));
      if (damage == "missing") {
        fs::remove(files.File(name));
      } else {
        Write(files.File(name), damage == "empty" ? "" : damage == "cut" ? whole.substr(0, whole.size() / 2) : Read(other.File(name)));
      }
      const absl::Status status = Load(files.directory());
      // Token ids can be served without a tokenizer, and without generation_config.json nothing is missing; the other model's
      // have the same form.
      const bool harmless =
          (name == "tokenizer.json" || name == "generation_config.json") && (damage == "missing" || damage == "other");
      EXPECT_EQ(status.ok(), harmless) << status;
      if (!status.ok()) {
        const std::string message(status.message());
        EXPECT_THAT(message, Not(HasSubstr("\n")));
        EXPECT_THAT(message, AnyOf(HasSubstr(name), HasSubstr("model.safetensors"), HasSubstr("embed_tokens"), HasSubstr("lm_head"),
                                   HasSubstr("layers.0"), HasSubstr("norm")));
      }
      Write(files.File(name), whole);
    }
  }
  EXPECT_TRUE(Load(files.directory()).ok());
}

INSTANTIATE_TEST_SUITE_P(Families, ModelDirectoryTest, ::testing::ValuesIn(AllTestFamilies()),
                         [](const auto& info) { return Name(info.param); });

}  // namespace
}  // namespace ration
