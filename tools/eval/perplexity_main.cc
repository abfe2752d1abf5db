// Perplexity of a checkpoint over a text at several ratios, routed as prefill routes (expert choice in windows) and as
// decode does (thresholds, token by token), with the shares that each rule realised.

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <ATen/Parallel.h>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/status_macros.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/checkpoint.h"
#include "tools/eval/perplexity.h"
#include "tools/train/llama_weights.h"
#include "tools/train/token_batches.h"

ABSL_FLAG(std::string, model, "", "Directory of the checkpoint (Hugging Face layout), with or without routers.");
ABSL_FLAG(std::string, text, "", "Text file; documents separated by <|endoftext|>.");
ABSL_FLAG(std::string, ratios, "",
          "Ratios to evaluate, e.g. 1:0:0,3:1:6. Empty: the checkpoint's ladder, or full KV for a plain one.");
ABSL_FLAG(double, held_out, 0.1, "Share of the documents, the last ones, to evaluate; 1: all.");
ABSL_FLAG(int64_t, length, 512, "Tokens of a sequence, at most the model's context.");
ABSL_FLAG(int64_t, sequences, 0, "At most so many sequences; 0: all.");
ABSL_FLAG(int64_t, threads, 1, "Threads of the linear algebra.");

namespace ration {
namespace {

void Print(const char* rule, const std::string& ratio, const EvalResult& result) {
  std::printf("%-13s ratio %-16s loss %.4f perplexity %8.3f KV fraction %.3f", rule, ratio.c_str(), result.loss,
              result.perplexity, result.kv_fraction);
  if (!result.shares.empty()) {
    std::printf(" shares %s", absl::StrJoin(result.shares, ":", [](std::string* out, double share) {
                                absl::StrAppendFormat(out, "%.3f", share);
                              }).c_str());
  }
  std::printf("\n");
  std::fflush(stdout);
}

absl::Status Run() {
  const std::string model = absl::GetFlag(FLAGS_model), path = absl::GetFlag(FLAGS_text);
  if (model.empty() || path.empty()) return absl::InvalidArgumentError("--model and --text are required; see --help");
  at::set_num_threads(static_cast<int>(absl::GetFlag(FLAGS_threads)));
  RATION_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(model));
  RATION_ASSIGN_OR_RETURN(const LlamaWeights weights, LoadLlamaWeights(*checkpoint));
  RATION_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(model));
  std::ifstream in(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (text.empty()) return absl::NotFoundError(absl::StrCat("--text=", path, ": is missing or empty"));
  RATION_ASSIGN_OR_RETURN(const TextSplit split, SplitAndEncode(text, *tokenizer, 0, absl::GetFlag(FLAGS_held_out)));
  const int64_t length = absl::GetFlag(FLAGS_length);
  if (length <= 0 || length > weights.config.max_positions) {
    return absl::InvalidArgumentError(
        absl::StrCat("--length=", length, " must be in [1, ", weights.config.max_positions, "]"));
  }
  const at::Tensor sequences = Consecutive(split.held_out, length, absl::GetFlag(FLAGS_sequences));
  if (sequences.size(0) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("the evaluated part has ", split.held_out.numel(),
                                                   " tokens, fewer than --length=", length, " + 1"));
  }
  std::printf("%ld sequences of %ld tokens\n", static_cast<long>(sequences.size(0)), static_cast<long>(length));
  if (!weights.has_routers()) {
    RATION_ASSIGN_OR_RETURN(const EvalResult full, Evaluate(weights, sequences, Ratio(), EvalRouting::kFull));
    Print("full", "-", full);
    return absl::OkStatus();
  }
  const MixsgaConfig& mixsga = *weights.config.mixsga;
  std::vector<Ratio> ratios;
  for (absl::string_view item : absl::StrSplit(absl::GetFlag(FLAGS_ratios), ',', absl::SkipEmpty())) {
    RATION_ASSIGN_OR_RETURN(const Ratio ratio, Ratio::Parse(item, mixsga.experts.num_experts()));
    ratios.push_back(ratio);
  }
  if (ratios.empty()) {
    for (const auto& [fraction, ratio] : mixsga.ladder) ratios.push_back(ratio);
  }
  if (ratios.empty()) ratios.push_back(mixsga.default_ratio);
  for (const Ratio& ratio : ratios) {
    for (const auto& [name, rule] : {std::pair<const char*, EvalRouting>{"expert-choice", EvalRouting::kExpertChoice},
                                     {"thresholds", EvalRouting::kThreshold}}) {
      RATION_ASSIGN_OR_RETURN(const EvalResult result, Evaluate(weights, sequences, ratio, rule));
      Print(name, ratio.ToString(), result);
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace ration

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Perplexity by ratio.\n  perplexity --model=DIR --text=FILE --ratios=1:0:0,3:1:6");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = ration::Run();
  if (!status.ok()) {
    std::fprintf(stderr, "perplexity: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
