// Tests engine/weights/checkpoint.cc: directories as Hugging Face writes them, and everything that can be wrong with
// one.
#include "engine/weights/checkpoint.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/weights/safetensors_writer.h"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string ReadText(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

void WriteText(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

absl::Status OpenError(const std::string& directory) { return Checkpoint::Open(directory).status(); }

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// Every tensor that a Llama model of this configuration must have is there in its shape and dtype.
void ExpectCompleteLlama(const Checkpoint& checkpoint, at::ScalarType dtype) {
  const ModelConfig& config = checkpoint.config();
  int64_t seen = 0;
  const auto expect = [&](const std::string& name, std::vector<int64_t> shape) {
    const auto tensor = checkpoint.Tensor(name, shape);
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(tensor->scalar_type(), dtype) << name;
    EXPECT_TRUE(at::isfinite(tensor->to(at::kFloat)).all().item<bool>()) << name;
    ++seen;
  };
  const int64_t hidden = config.hidden_size, ffn = config.intermediate_size;
  const int64_t q = config.num_query_heads * config.head_dim, kv = config.num_kv_heads * config.head_dim;
  if (config.tie_word_embeddings) {
    EXPECT_NE(checkpoint.Has("model.embed_tokens.weight"), checkpoint.Has("lm_head.weight"));
    expect(checkpoint.Has("lm_head.weight") ? "lm_head.weight" : "model.embed_tokens.weight",
           {config.vocab_size, hidden});
  } else {
    expect("model.embed_tokens.weight", {config.vocab_size, hidden});
    expect("lm_head.weight", {config.vocab_size, hidden});
  }
  expect("model.norm.weight", {hidden});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    const auto linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
      expect(absl::StrCat(prefix, name, ".weight"), {out, in});
      if (bias) expect(absl::StrCat(prefix, name, ".bias"), {out});
    };
    expect(prefix + "input_layernorm.weight", {hidden});
    expect(prefix + "post_attention_layernorm.weight", {hidden});
    linear("self_attn.q_proj", q, hidden, config.attention_bias);
    linear("self_attn.k_proj", kv, hidden, config.attention_bias);
    linear("self_attn.v_proj", kv, hidden, config.attention_bias);
    linear("self_attn.o_proj", hidden, q, config.attention_bias);
    linear("mlp.gate_proj", ffn, hidden, config.mlp_bias);
    linear("mlp.up_proj", ffn, hidden, config.mlp_bias);
    linear("mlp.down_proj", hidden, ffn, config.mlp_bias);
  }
  if (!config.mixsga) {  // nothing else
    EXPECT_EQ(seen, static_cast<int64_t>(checkpoint.Names().size()));
  }
}

TEST(CheckpointTest, OpensEveryVariantOfATinyLlama) {
  std::vector<TinyCheckpointOptions> variants(6);
  variants[1].dtype = at::kBFloat16;
  variants[1].shards = 3;
  variants[2].dtype = at::kHalf;
  variants[2].attention_bias = variants[2].mlp_bias = true;
  variants[3].tied = false;
  variants[3].head_dim = 6;
  variants[4].tied_as_lm_head = true;
  variants[5].group_sizes.clear();
  variants[5].llama3_rope = true;
  for (const TinyCheckpointOptions& options : variants) {
    const TinyCheckpoint tiny(options);
    const auto checkpoint = Checkpoint::Open(tiny.directory());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    ExpectCompleteLlama(**checkpoint, options.dtype);

    const auto expected = TinyTensors(options);
    int64_t num_bytes = 0;
    std::vector<std::string> names;
    for (const auto& [name, tensor] : expected) {
      names.push_back(name);
      num_bytes += tensor.nbytes();
      const auto read = (*checkpoint)->Tensor(name, {tensor.sizes().data(), tensor.sizes().size()});
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_TRUE(read->equal(tensor)) << name;
    }
    EXPECT_EQ((*checkpoint)->Names(), names);
    EXPECT_EQ((*checkpoint)->num_bytes(), num_bytes);
    EXPECT_EQ((*checkpoint)->config().mixsga.has_value(), !options.group_sizes.empty());
    EXPECT_EQ((*checkpoint)->config().rope_scaling.type == RopeScaling::Type::kLlama3, options.llama3_rope);
  }
}

TEST(CheckpointTest, TensorsAreViewsOfTheFileAndOutliveTheCheckpoint) {
  at::Tensor tensor, view;
  {
    const TinyCheckpoint tiny;
    auto checkpoint = Checkpoint::Open(tiny.directory());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    tensor = *(*checkpoint)->Tensor("model.norm.weight", {32});
    view = (*checkpoint)->Tensor("model.embed_tokens.weight", {384, 32})->slice(0, 100, 101);
    const at::Tensor again = *(*checkpoint)->Tensor("model.norm.weight", {32});
    EXPECT_EQ(tensor.data_ptr(), again.data_ptr()) << "the bytes were copied";
  }  // the files are unlinked and the checkpoint is gone
  const auto expected = TinyTensors({});
  EXPECT_TRUE(tensor.equal(expected.at("model.norm.weight")));
  EXPECT_TRUE(view.equal(expected.at("model.embed_tokens.weight").slice(0, 100, 101)));
}

TEST(CheckpointTest, MisalignedTensorsAreCopied) {
  const TinyCheckpoint tiny;
  // One header byte more puts every tensor at an odd address.
  std::string bytes = ReadText(tiny.File("model.safetensors"));
  bytes[0] = static_cast<char>(bytes[0] + 1);
  const size_t data = 8 + static_cast<unsigned char>(bytes[0]) - 1 + 256 * static_cast<unsigned char>(bytes[1]);
  bytes.insert(data, " ");
  WriteText(tiny.File("model.safetensors"), bytes);
  const auto checkpoint = Checkpoint::Open(tiny.directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const auto& [name, tensor] : TinyTensors({})) {
    const auto read = (*checkpoint)->Tensor(name, {tensor.sizes().data(), tensor.sizes().size()});
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(read->data_ptr()) % 4, 0u);
    EXPECT_TRUE(read->equal(tensor)) << name;
  }
}

TEST(CheckpointTest, MissingTensorsAndWrongShapesAreNamed) {
  const TinyCheckpoint tiny;
  const auto checkpoint = Checkpoint::Open(tiny.directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const absl::Status missing = (*checkpoint)->Tensor("model.layers.7.mlp.up_proj.weight", {48, 32}).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(missing), AllOf(HasSubstr("\"model.layers.7.mlp.up_proj.weight\""), HasSubstr("[48, 32]"),
                                      HasSubstr(tiny.directory())));
  const absl::Status wrong = (*checkpoint)->Tensor("model.norm.weight", {1, 32}).status();
  EXPECT_EQ(wrong.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(wrong), AllOf(HasSubstr("\"model.norm.weight\""), HasSubstr("[32]"), HasSubstr("[1, 32]"),
                                    HasSubstr(tiny.directory())));
}

TEST(CheckpointTest, MissingFilesAreNamed) {
  EXPECT_EQ(OpenError("/nonexistent/model").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(OpenError("/nonexistent/model")), HasSubstr("/nonexistent/model"));
  {
    const TinyCheckpoint tiny;
    EXPECT_EQ(OpenError(tiny.File("config.json")).code(), absl::StatusCode::kInvalidArgument);  // not a directory
    std::filesystem::remove(tiny.File("model.safetensors"));
    EXPECT_EQ(OpenError(tiny.directory()).code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(Message(OpenError(tiny.directory())),
                AllOf(HasSubstr(tiny.directory()), HasSubstr("model.safetensors.index.json")));
    std::filesystem::remove(tiny.File("config.json"));
    EXPECT_EQ(OpenError(tiny.directory()).code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(Message(OpenError(tiny.directory())), HasSubstr(tiny.File("config.json")));
  }
  TinyCheckpointOptions options;
  options.shards = 2;
  const TinyCheckpoint tiny(options);
  const std::string shard = tiny.File("model-00002-of-00002.safetensors");
  std::filesystem::remove(shard);
  EXPECT_EQ(OpenError(tiny.directory()).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(OpenError(tiny.directory())), HasSubstr(shard));
}

TEST(CheckpointTest, ConfigErrorsNameTheDirectory) {
  const TinyCheckpoint tiny;
  const std::string config = ReadText(tiny.File("config.json"));
  WriteText(tiny.File("config.json"), absl::StrReplaceAll(config, {{"\"hidden_size\": 32", "\"hidden_size\": -3"}}));
  EXPECT_EQ(Message(OpenError(tiny.directory())),
            absl::StrCat(tiny.directory(), "/config.json: hidden_size: must be between 1 and 1048576, not -3"));
  WriteText(tiny.File("config.json"), absl::StrReplaceAll(config, {{"LlamaForCausalLM", "MambaForCausalLM"}}));
  EXPECT_EQ(OpenError(tiny.directory()).code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(Message(OpenError(tiny.directory())), HasSubstr("MambaForCausalLM"));
}

TEST(CheckpointTest, IndexMustStayInItsDirectoryAndBeTrue) {
  TinyCheckpointOptions options;
  options.shards = 2;
  const TinyCheckpoint tiny(options);
  const std::string index_path = tiny.File("model.safetensors.index.json");
  const std::string index = ReadText(index_path);
  const std::string shard = "model-00001-of-00002.safetensors";
  // A real file outside that must not be opened.
  std::filesystem::copy_file(tiny.File(shard), tiny.directory() + ".outside");
  const std::string outside = std::filesystem::path(tiny.directory() + ".outside").filename();
  for (const std::string& name :
       {"../" + outside, tiny.File(shard), std::string(".."), std::string("."), std::string(), "./" + shard}) {
    WriteText(index_path, absl::StrReplaceAll(index, {{shard, name}}));
    const absl::Status status = OpenError(tiny.directory());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(Message(status), AllOf(HasSubstr(index_path), HasSubstr("same directory")));
  }
  std::filesystem::remove(tiny.directory() + ".outside");

  WriteText(index_path, absl::StrReplaceAll(index, {{"model.norm.weight", "model.gone.weight"}}));
  EXPECT_THAT(Message(OpenError(tiny.directory())),
              AllOf(HasSubstr("\"model.gone.weight\""), HasSubstr(shard.substr(0, 6))));
  for (const char* text :
       {"", "{", "[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})", R"({"weight_map": {"a": 1}})",
        R"({"weight_map": {"a": "x", "a": "x"}})", R"({"weight_map": {"a": "x\u0000y"}})"}) {
    WriteText(index_path, text);
    EXPECT_EQ(OpenError(tiny.directory()).code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(Message(OpenError(tiny.directory())), HasSubstr(index_path));
  }
}

// Directories made by Hugging Face's own writer.
TEST(CheckpointTest, OpensGoldenDirectories) {
  const char* shared = std::getenv("RATION_SHARED");
  if (shared == nullptr)
    GTEST_SKIP() << "RATION_SHARED is not set: the golden model directories are not there to be opened";
  struct Case {
    const char* directory;
    at::ScalarType dtype;
    int64_t head_dim;
    bool llama3;
  };
  const Case cases[] = {
      {"golden/logits/llama3-tiny/fp32", at::kFloat, 8, true},
      {"golden/logits/llama3-tiny/bf16", at::kBFloat16, 8, true},
      {"golden/logits/llama3-tiny/bf16-sharded", at::kBFloat16, 8, true},
      {"golden/logits/llama3-tiny-hd16/fp32", at::kFloat, 16, true},
      {"golden/logits/llama3-tiny-hd16/bf16", at::kBFloat16, 16, true},
      {"golden/logits/tinyllama-tiny/fp32", at::kFloat, 8, false},
      {"golden/logits/tinyllama-tiny/bf16", at::kBFloat16, 8, false},
      {"golden/logits/llama-mha-tiny/fp32", at::kFloat, 8, false},
      {"golden/logits/llama-mha-tiny/bf16", at::kBFloat16, 8, false},
      {"data/models/stories260K-hf", at::kFloat, 8, false},
      {"data/models/tinystories-656k", at::kFloat, 16, false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.directory);
    const auto checkpoint = Checkpoint::Open(absl::StrCat(shared, "/", c.directory));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ((*checkpoint)->config().head_dim, c.head_dim);
    EXPECT_EQ((*checkpoint)->config().rope_scaling.type == RopeScaling::Type::kLlama3, c.llama3);
    EXPECT_EQ((*checkpoint)->config().eos_token_ids, std::vector<int32_t>{2});
    ExpectCompleteLlama(**checkpoint, c.dtype);
  }
  for (const auto& [other, family] : {std::make_pair("opt-tiny/fp32", ModelFamily::kOpt),
                                      std::make_pair("gemma2-tiny/fp32", ModelFamily::kGemma2)}) {
    const auto checkpoint = Checkpoint::Open(absl::StrCat(shared, "/golden/logits/", other));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ((*checkpoint)->config().family, family) << other;
  }
}

}  // namespace
}  // namespace ration
