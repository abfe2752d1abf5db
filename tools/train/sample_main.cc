// Writes text that a model makes up, document after document, in the form the trainer reads: more to distil from than there is text.
// Runs the serving engine at full KV. The same seed gives the same text.

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "engine/base/clock.h"
#include "engine/base/status_macros.h"
#include "engine/engine.h"
#include "engine/engine_factory.h"

ABSL_FLAG(std::string, model, "", "Directory of the model (Hugging Face layout).");
ABSL_FLAG(std::string, out, "", "Text file to write; documents separated by <|endoftext|>.");
ABSL_FLAG(int64_t, documents, 10000, "Documents to write.");
ABSL_FLAG(int64_t, batch, 128, "Documents made at once.");
ABSL_FLAG(double, temperature, 1.0, "Sampling temperature.");
ABSL_FLAG(int, threads, 1, "Compute threads.");
ABSL_FLAG(uint64_t, seed, 1, "Seed of everything random.");

namespace ration {
namespace {

class TextSink final : public OutputSink {
 public:
  bool OnDelta(GenerationDelta delta) override {
    text += delta.text;
    tokens += static_cast<int64_t>(delta.token_ids.size());
    finished = delta.finish.has_value();
    return true;
  }
  std::string text;
  int64_t tokens = 0;
  bool finished = false;
};

absl::Status Sample() {
  EngineFactoryOptions options;
  options.directory = absl::GetFlag(FLAGS_model);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.kv_budget_bytes = int64_t{1} << 30;
  options.engine.budget_policy = BudgetPolicy::kPreempt;  // full KV; the pool is large enough never to preempt
  options.engine.max_running_requests = absl::GetFlag(FLAGS_batch);
  RATION_ASSIGN_OR_RETURN(LoadedEngine loaded, LoadEngine(options, Clock::Real()));
  if (loaded.tokenizer == nullptr) return loaded.tokenizer_status;
  RATION_ASSIGN_OR_RETURN(const std::vector<int32_t> prompt, loaded.tokenizer->Encode("", /*add_special_tokens=*/true));
  if (prompt.empty()) return absl::InvalidArgumentError("--model: its tokenizer has no token that begins a document");
  FILE* const out = std::fopen(absl::GetFlag(FLAGS_out).c_str(), "wb");
  if (out == nullptr) return absl::NotFoundError(absl::StrCat("--out=", absl::GetFlag(FLAGS_out), ": cannot be written"));

  const int64_t documents = absl::GetFlag(FLAGS_documents), batch = absl::GetFlag(FLAGS_batch);
  int64_t tokens = 0;
  for (int64_t first = 0; first < documents; first += batch) {
    const int64_t count = std::min(batch, documents - first);
    std::vector<TextSink> sinks(count);
    for (int64_t i = 0; i < count; ++i) {
      GenerationRequest request;
      request.request_id = absl::StrCat("document ", first + i);
      request.prompt_tokens = prompt;
      request.sampling.temperature = static_cast<float>(absl::GetFlag(FLAGS_temperature));
      request.sampling.seed = absl::GetFlag(FLAGS_seed) * 1000003 + static_cast<uint64_t>(first + i);
      request.stopping.max_new_tokens = loaded.info.max_positions - static_cast<int64_t>(prompt.size());
      request.stopping.stop_token_ids = prompt;  // a model trained on documents in a row begins the next one
      RATION_RETURN_IF_ERROR(loaded.engine->Submit(std::move(request), &sinks[i]));
    }
    while (loaded.engine->HasRequests()) loaded.engine->Step();
    for (const TextSink& sink : sinks) {
      std::fprintf(out, "%s\n<|endoftext|>\n", sink.text.c_str());
      tokens += sink.tokens;
    }
    std::fprintf(stderr, "\r%lld of %lld documents, %lld tokens", static_cast<long long>(first + count),
                 static_cast<long long>(documents), static_cast<long long>(tokens));
  }
  std::fprintf(stderr, "\n");
  if (std::fclose(out) != 0) return absl::DataLossError(absl::StrCat("--out=", absl::GetFlag(FLAGS_out), ": write failed"));
  return absl::OkStatus();
}

}  // namespace
}  // namespace ration

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Samples text from a model.\n  sample --model=DIR --out=FILE --documents=10000");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = ration::Sample();
  if (!status.ok()) {
    std::fprintf(stderr, "sample: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
