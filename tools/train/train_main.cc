// Turns a Llama checkpoint into a mixSGA checkpoint: trains routers and weights over a range of ratios (or at one),
// evaluates on held-out text at several KV fractions, measures the decode calibration and writes a Hugging Face
// directory. See deploy/models/stories-mixsga/README.md for a complete command.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/status_macros.h"
#include "engine/budget/ratio_ladder.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/checkpoint.h"
#include "tools/eval/perplexity.h"
#include "tools/train/checkpoint_output.h"
#include "tools/train/head_alignment.h"
#include "tools/train/llama_weights.h"
#include "tools/train/ratio_draw.h"
#include "tools/train/sample_sequences.h"
#include "tools/train/token_batches.h"
#include "tools/train/trainer.h"

ABSL_FLAG(std::string, base, "",
          "Directory of the checkpoint to start from (Hugging Face layout); one with routers is trained on.");
ABSL_FLAG(std::string, teacher, "", "Directory of the model whose logits are the distillation targets; empty: --base.");
ABSL_FLAG(std::string, text, "", "Training text; documents separated by <|endoftext|>.");
ABSL_FLAG(std::string, out, "", "Directory to write the trained model to.");
ABSL_FLAG(std::string, group_sizes, "1,2,4",
          "Group size of each expert, ascending divisors of the KV heads, starting at 1.");
ABSL_FLAG(int64_t, routing_window, 256, "Tokens of one expert-choice window.");
ABSL_FLAG(std::string, ladder, "1:0:0,3:1:6,0:0:1", "Ratios between which elastic training draws, by KV fraction.");
ABSL_FLAG(std::string, extra_ratios, "", "Ratios off the ladder to train on too, e.g. 0:1:0.");
ABSL_FLAG(double, extra_share, 0.05, "Share of the sequences that each of --extra_ratios gets.");
ABSL_FLAG(std::string, ratio, "", "Train at this one ratio instead of the ladder, e.g. 3:1:6 or 0:1:0.");
ABSL_FLAG(std::string, default_ratio, "3:1:6", "Ratio written to config.json as the one to serve.");
ABSL_FLAG(double, full_share, 0.25, "Elastic: share of the sequences at full KV.");
ABSL_FLAG(double, floor_share, 0.15, "Elastic: share of the sequences at the ladder's lowest ratio.");
ABSL_FLAG(bool, align_heads, true,
          "Before training, rotate and order the heads of a plain base so that their means lose least.");
ABSL_FLAG(int64_t, steps, 0, "Optimiser steps; 0: decided by --minutes.");
ABSL_FLAG(double, minutes, 0, "Wall-clock length of the run, evaluation apart; with --steps the earlier ends it.");
ABSL_FLAG(int64_t, batch, 12, "Sequences a step.");
ABSL_FLAG(int64_t, length, 512, "Tokens a sequence.");
ABSL_FLAG(double, learning_rate, 1e-3, "Peak rate of AdamW.");
ABSL_FLAG(double, router_learning_rate, 1e-3, "Peak rate of the routers.");
ABSL_FLAG(double, weight_decay, 0.01, "AdamW's decay of matrices.");
ABSL_FLAG(double, aux_alpha, 0.1, "Weight of the auxiliary router loss.");
ABSL_FLAG(std::string, gate, "chosen",
          "Straight-through gradient to the router: chosen (expert only) or all (experts).");
ABSL_FLAG(double, distill, 0.5, "Weight of the teacher's distribution against the next token, in [0, 1].");
ABSL_FLAG(int64_t, samples, 0,
          "Sequences to draw from the teacher before training, each begun by a few tokens of the text; 0: none.");
ABSL_FLAG(double, sample_share, 0.5, "Share of a step's sequences that are drawn ones, if there are any.");
ABSL_FLAG(double, average_decay, 0,
          "Write the running mean of the weights, with this decay a step, in [0, 1), e.g. 0.999; 0: the weights.");
ABSL_FLAG(double, held_out, 0.1, "Share of the documents, the last ones, kept for the final evaluation.");
ABSL_FLAG(double, validation, 0.02,
          "Share of the documents, those before the held-out ones, kept for evaluation on the way and for calibration.");
ABSL_FLAG(int64_t, eval_sequences, 0, "Held-out sequences of the final evaluation; 0: all, -1: validation text.");
ABSL_FLAG(int64_t, checkpoint_steps, 1000, "Write --out, and evaluate on validation text, every so many steps.");
ABSL_FLAG(int64_t, calibration_samples, 512, "Score vectors a layer in the shipped calibration table.");
ABSL_FLAG(std::string, device, "cpu",
          "Where to train: cpu, or cuda (tools/train/build_with_torch.sh builds one that can).");
ABSL_FLAG(int64_t, threads, 1, "Threads of the linear algebra.");
ABSL_FLAG(uint64_t, seed, 1, "Seed of everything random.");

namespace ration {
namespace {

// The KV fractions that evaluation reports: the ladder's ends and points between.
constexpr double kReportFractions[] = {1, 0.75, 0.5, 0.35, 0.25};

constexpr int64_t kValidationSequences = 32;  // at most; 16,384 tokens of 512: 32 for each calibration sample
constexpr int64_t kSampleBatch = 8192;     // sequences drawn at once: 5 GiB of caches for the default model
constexpr int64_t kSamplePrompt = 16;      // tokens of the text before them: they begin in the middle of stories too
constexpr int64_t kAlignSequences = 16;  // 8,192 tokens of 512: a hundred times the coordinates they decide

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string Shares(const std::vector<double>& shares) {
  return absl::StrJoin(shares, ":", [](std::string* out, double share) { absl::StrAppendFormat(out, "%.3f", share); });
}

absl::StatusOr<std::vector<Ratio>> ParseRatios(const std::string& list, int num_experts) {
  std::vector<Ratio> ratios;
  for (absl::string_view text : absl::StrSplit(list, ',', absl::SkipEmpty())) {
    RATION_ASSIGN_OR_RETURN(const Ratio ratio, Ratio::Parse(text, num_experts));
    ratios.push_back(ratio);
  }
  return ratios;
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.good() && !in.eof()) return absl::NotFoundError(absl::StrCat("--text=", path, ": cannot be read"));
  if (text.empty()) return absl::NotFoundError(absl::StrCat("--text=", path, ": is missing or empty"));
  return text;
}

absl::StatusOr<at::Device> ParseDevice(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  if (name != "cuda") return absl::InvalidArgumentError(absl::StrCat("--device=", name, ": must be cpu or cuda"));
  if (!at::hasCUDA()) {
    return absl::FailedPreconditionError(
        "--device=cuda: this trainer's LibTorch has no CUDA, or the machine no CUDA device");
  }
  return at::Device(at::kCUDA, 0);
}

// [count, length + 1], drawn from the teacher at places of `stream`.
at::Tensor DrawSamples(const LlamaWeights& teacher, const at::Tensor& stream, int64_t count, int64_t length) {
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < count; begin += kSampleBatch) {
    const int64_t size = std::min(kSampleBatch, count - begin), prompt = std::min(kSamplePrompt, length);
    const at::Tensor starts = at::randint(stream.numel() - prompt, {size}, stream.options());
    parts.push_back(
        SampleSequences(teacher, stream.unfold(0, prompt, 1).index_select(0, starts), length + 1));
    std::printf("drew %ld of %ld sequences\n", static_cast<long>(begin + size), static_cast<long>(count));
    std::fflush(stdout);
  }
  return at::cat(parts);
}

void SetCalibration(const at::Tensor& sequences, const Ratio& ratio, LlamaWeights& weights) {
  const std::vector<at::Tensor> tables =
      CalibrationScores(weights, sequences, ratio, absl::GetFlag(FLAGS_calibration_samples));
  for (size_t i = 0; i < tables.size(); ++i) weights.layers[i].router_calibration = tables[i];
}

absl::Status PrintEvaluation(const LlamaWeights& weights, const LlamaWeights& teacher, const at::Tensor& sequences,
                             const std::vector<Ratio>& ratios, bool brief) {
  RATION_ASSIGN_OR_RETURN(const EvalResult full, Evaluate(teacher, sequences, Ratio(), EvalRouting::kFull));
  std::printf("eval teacher at full KV: loss %.4f perplexity %.3f (%ld tokens)\n", full.loss, full.perplexity,
              static_cast<long>(full.tokens));
  for (const Ratio& ratio : ratios) {
    RATION_ASSIGN_OR_RETURN(const EvalResult choice, Evaluate(weights, sequences, ratio, EvalRouting::kExpertChoice));
    std::printf("eval ratio %s KV %.3f: expert choice loss %.4f perplexity %.3f", ratio.ToString().c_str(),
                choice.kv_fraction, choice.loss, choice.perplexity);
    if (!brief) {
      RATION_ASSIGN_OR_RETURN(const EvalResult decode, Evaluate(weights, sequences, ratio, EvalRouting::kThreshold));
      RATION_ASSIGN_OR_RETURN(const EvalResult argmax, Evaluate(weights, sequences, ratio, EvalRouting::kArgmax));
      std::printf(" | thresholds %.4f %.3f shares %s | argmax %.4f %.3f shares %s", decode.loss, decode.perplexity,
                  Shares(decode.shares).c_str(), argmax.loss, argmax.perplexity, Shares(argmax.shares).c_str());
    }
    std::printf("\n");
  }
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::Status Train() {
  for (const auto& [name, value] : {std::pair<const char*, std::string>{"--base", absl::GetFlag(FLAGS_base)},
                                    {"--text", absl::GetFlag(FLAGS_text)},
                                    {"--out", absl::GetFlag(FLAGS_out)}}) {
    if (value.empty()) return absl::InvalidArgumentError(absl::StrCat(name, " is required; see --help"));
  }
  const int64_t max_steps = absl::GetFlag(FLAGS_steps);
  double max_seconds = absl::GetFlag(FLAGS_minutes) * 60;
  if (max_steps <= 0 && max_seconds <= 0) return absl::InvalidArgumentError("give --steps or --minutes, > 0");
  RATION_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(absl::GetFlag(FLAGS_device)));
  for (const auto& [name, share, below] :
       {std::tuple<const char*, double, double>{"--distill", absl::GetFlag(FLAGS_distill), 1},
        {"--sample_share", absl::GetFlag(FLAGS_sample_share), 1},
        {"--average_decay", absl::GetFlag(FLAGS_average_decay), 0.999999}}) {
    if (!(share >= 0 && share <= below)) {
      return absl::InvalidArgumentError(absl::StrCat(name, "=", share, ": must be in [0, ", below, "]"));
    }
  }
  at::set_num_threads(static_cast<int>(absl::GetFlag(FLAGS_threads)));
  const std::string base_directory = absl::GetFlag(FLAGS_base);

  RATION_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(base_directory));
  RATION_ASSIGN_OR_RETURN(const LlamaWeights base, LoadLlamaWeights(*checkpoint));
  LlamaWeights teacher = base;
  if (!absl::GetFlag(FLAGS_teacher).empty()) {
    RATION_ASSIGN_OR_RETURN(const auto teacher_checkpoint, Checkpoint::Open(absl::GetFlag(FLAGS_teacher)));
    RATION_ASSIGN_OR_RETURN(teacher, LoadLlamaWeights(*teacher_checkpoint));
  }
  RATION_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(base_directory));
  RATION_ASSIGN_OR_RETURN(const std::string text, ReadText(absl::GetFlag(FLAGS_text)));
  RATION_ASSIGN_OR_RETURN(
      const TextSplit split,
      SplitAndEncode(text, *tokenizer, absl::GetFlag(FLAGS_validation), absl::GetFlag(FLAGS_held_out)));
  const int64_t length = absl::GetFlag(FLAGS_length);
  if (length <= 0 || length > base.config.max_positions || split.train.numel() <= 2 * length + 1) {
    return absl::InvalidArgumentError(absl::StrCat("--length=", length, " must be in [1, ", base.config.max_positions,
                                                   "] and under half of the ", split.train.numel(),
                                                   " training tokens"));
  }

  const at::Tensor few = Consecutive(split.validation, length, kValidationSequences);
  if (few.size(0) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("--validation=", absl::GetFlag(FLAGS_validation), " leaves ",
                                                   split.validation.numel(), " tokens, fewer than --length=", length,
                                                   " + 1"));
  }

  LlamaWeights student = CloneWeights(base);
  std::vector<int> group_sizes;
  for (absl::string_view size : absl::StrSplit(absl::GetFlag(FLAGS_group_sizes), ',')) {
    if (!absl::SimpleAtoi(size, &group_sizes.emplace_back())) {
      return absl::InvalidArgumentError(absl::StrCat("--group_sizes: \"", size, "\" is not a number"));
    }
  }
  if (!student.has_routers()) {
    if (absl::GetFlag(FLAGS_align_heads)) {
      AlignHeads(Consecutive(split.train, length, kAlignSequences).narrow(1, 0, length).contiguous(), student);
    }
    RATION_RETURN_IF_ERROR(
        AddRouters(group_sizes, absl::GetFlag(FLAGS_routing_window), absl::GetFlag(FLAGS_seed), student));
  }
  MixsgaConfig& mixsga = *student.config.mixsga;
  const int num_experts = mixsga.experts.num_experts();
  const bool elastic = absl::GetFlag(FLAGS_ratio).empty();
  RATION_ASSIGN_OR_RETURN(const std::vector<Ratio> knots,
                          ParseRatios(elastic ? absl::GetFlag(FLAGS_ladder) : absl::GetFlag(FLAGS_ratio), num_experts));
  RATION_ASSIGN_OR_RETURN(RatioLadder ladder, RatioLadder::Create(mixsga.experts, knots));
  mixsga.elastic = elastic;
  mixsga.ladder.clear();
  if (elastic) {
    mixsga.trained_ratio.reset();
    RATION_ASSIGN_OR_RETURN(mixsga.default_ratio, Ratio::Parse(absl::GetFlag(FLAGS_default_ratio), num_experts));
    for (const Ratio& knot : knots) mixsga.ladder.emplace_back(knot.KvFraction(mixsga.experts), knot);
  } else {
    mixsga.trained_ratio = mixsga.default_ratio = knots[0];
  }
  std::vector<Ratio> reported;
  for (double fraction : kReportFractions) {
    const Ratio ratio = ladder.At(fraction);
    if (reported.empty() || ratio != reported.back()) reported.push_back(ratio);
  }

  Trainer::Options options;
  options.batch = absl::GetFlag(FLAGS_batch);
  options.length = length;
  options.learning_rate = absl::GetFlag(FLAGS_learning_rate);
  options.router_learning_rate = absl::GetFlag(FLAGS_router_learning_rate);
  options.weight_decay = absl::GetFlag(FLAGS_weight_decay);
  options.aux_alpha = absl::GetFlag(FLAGS_aux_alpha);
  options.distill = absl::GetFlag(FLAGS_distill);
  const std::string gate = absl::GetFlag(FLAGS_gate);
  if (gate != "chosen" && gate != "all") {
    return absl::InvalidArgumentError(absl::StrCat("--gate=", gate, ": must be chosen or all"));
  }
  options.straight_through = gate == "all" ? StraightThrough::kAll : StraightThrough::kChosen;
  options.seed = absl::GetFlag(FLAGS_seed);
  options.sample_share = absl::GetFlag(FLAGS_sample_share);
  options.average_decay = absl::GetFlag(FLAGS_average_decay);
  options.draw.full_share = absl::GetFlag(FLAGS_full_share);
  options.draw.floor_share = absl::GetFlag(FLAGS_floor_share);
  if (elastic) {
    RATION_ASSIGN_OR_RETURN(options.draw.extra, ParseRatios(absl::GetFlag(FLAGS_extra_ratios), num_experts));
    options.draw.extra_share = absl::GetFlag(FLAGS_extra_share);
  }
  if (options.draw.full_share < 0 || options.draw.floor_share < 0 || options.draw.extra_share < 0 ||
      options.draw.full_share + options.draw.floor_share +
              options.draw.extra_share * static_cast<double>(options.draw.extra.size()) >
          1) {
    return absl::InvalidArgumentError(
        "--full_share, --floor_share and, for each of --extra_ratios, --extra_share must be >= 0 and <= 1 together");
  }
  const LlamaWeights device_teacher = CloneWeights(teacher, device);
  const at::Tensor device_text = split.train.to(device), device_few = few.to(device);
  at::manual_seed(options.seed);
  at::Tensor samples;
  const double before_samples = Seconds();
  if (absl::GetFlag(FLAGS_samples) > 0) {
    samples = DrawSamples(device_teacher, device_text, absl::GetFlag(FLAGS_samples), length);
    if (max_seconds > 0) max_seconds = std::max(1.0, max_seconds - (Seconds() - before_samples));
  }
  Trainer trainer(CloneWeights(student, device), device_teacher, std::move(ladder), device_text, samples, options);
  std::printf("training %s from %s: %ld training tokens, %ld held out, %ld sequences of %ld a step\n",
              absl::GetFlag(FLAGS_out).c_str(), base_directory.c_str(), static_cast<long>(split.train.numel()),
              static_cast<long>(split.held_out.numel()), static_cast<long>(options.batch), static_cast<long>(length));

  // Brief evaluations are made where training is; the decode rules of the last one go token by token, on the CPU.
  const auto save = [&](bool brief) -> absl::Status {
    LlamaWeights snapshot = trainer.Result();
    SetCalibration(device_few, mixsga.default_ratio, snapshot);
    snapshot.config.mixsga = mixsga;
    const LlamaWeights written = CloneWeights(snapshot);
    RATION_RETURN_IF_ERROR(WriteModelDirectory(written, base_directory, absl::GetFlag(FLAGS_out)));
    const int64_t limit = absl::GetFlag(FLAGS_eval_sequences);
    if (brief || limit < 0) return PrintEvaluation(snapshot, device_teacher, device_few, reported, /*brief=*/true);
    return PrintEvaluation(written, teacher, Consecutive(split.held_out, length, limit), reported, brief);
  };

  const double start = Seconds();
  double shown = start, paused = 0;
  for (int64_t step = 0;; ++step) {
    const double elapsed = Seconds() - start - paused;
    double progress = 0;
    if (max_steps > 0) progress = static_cast<double>(step) / static_cast<double>(max_steps);
    if (max_seconds > 0) progress = std::max(progress, elapsed / max_seconds);
    if (progress >= 1) break;
    trainer.Step(progress);
    const double now = Seconds();
    if (now - shown >= 5 || step == 0) {
      const Trainer::Report report = trainer.TakeReport();
      const double left = progress > 0.005 ? elapsed / progress * (1 - progress) : 0;  // too early to tell: 0
      std::printf(
          "step %ld epoch %.2f loss %.4f router %.4f |g| %.2f lr %.1e ratio %s realised %s %.0f tokens/s ETA %.1f "
          "min\n",
          static_cast<long>(step + 1), trainer.epochs(), report.loss, report.router_loss, report.gradient_norm,
          report.learning_rate, Shares(report.asked).c_str(), Shares(report.realised).c_str(),
          static_cast<double>(report.steps * options.batch * length) / (Seconds() - shown), left / 60);
      std::fflush(stdout);
      shown = Seconds();
    }
    if ((step + 1) % absl::GetFlag(FLAGS_checkpoint_steps) == 0) {
      const double before = Seconds();
      RATION_RETURN_IF_ERROR(save(/*brief=*/true));
      paused += Seconds() - before;
    }
  }
  return save(/*brief=*/false);
}

}  // namespace
}  // namespace ration

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Trains a mixSGA checkpoint from a Llama checkpoint (LlamaForCausalLM; OPT and Gemma-2 cannot be trained).\n"
      "  train --base=DIR --text=FILE --out=DIR --steps=4000 [--ratio=0:1:0]");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = ration::Train();
  if (!status.ok()) {
    std::fprintf(stderr, "train: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
