// The training loop's body: one optimiser step of routed training. Draws ratios and a batch, runs teacher and student,
// sums the losses, steps AdamW on a cosine schedule with warm-up. Knows nothing of files, flags or printing. Layer:
// tools/train. Thread-compatible.
#ifndef RATION_TOOLS_TRAIN_TRAINER_H_
#define RATION_TOOLS_TRAIN_TRAINER_H_

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "engine/budget/ratio_ladder.h"
#include "engine/router/expert_spec.h"
#include "tools/train/llama_forward.h"
#include "tools/train/llama_weights.h"
#include "tools/train/ratio_draw.h"
#include "tools/train/token_batches.h"

namespace ration {

class Trainer {
 public:
  struct Options {
    int64_t batch = 12;    // sequences a step
    int64_t length = 512;  // tokens a sequence
    double learning_rate = 1e-3;
    double router_learning_rate = 1e-3;
    double final_learning_rate = 0.02;  // of the peak, where the cosine ends
    double warmup = 0.02;               // share of the run over which the rate rises
    double weight_decay = 0.01;         // on matrices only
    double clip_norm = 1.0;             // of the whole gradient; 0: none
    double aux_alpha = 0.1;             // weight of RouterLoss
    double distill = 0.5;               // weight of the teacher in LanguageLoss
    StraightThrough straight_through = StraightThrough::kChosen;
    uint64_t seed = 1;
    RatioDrawOptions draw;
  };
  struct StepResult {
    double loss = 0;         // language loss
    double router_loss = 0;  // before aux_alpha
    double gradient_norm = 0;
    double learning_rate = 0;
    double kv_fraction = 0;        // asked for, mean over the batch
    std::vector<double> asked;     // share of each expert, mean over the batch
    std::vector<double> realised;  // share of tokens that went to each expert, mean over layers
  };

  // `student` must have routers; its tensors are trained in place. `teacher` (a plain model, or the student's start)
  // gives the distillation targets at full KV; with distill 0 it is not run.
  Trainer(LlamaWeights student, LlamaWeights teacher, RatioLadder ladder, at::Tensor stream, const Options& options);
  ~Trainer();

  // progress in [0, 1): how much of the run is over, for the schedule.
  StepResult Step(double progress);

  const LlamaWeights& weights() const { return student_; }
  double epochs() const { return batches_.epochs(); }

 private:
  struct Optimizer;

  double Rate(double progress) const;  // in (0, 1], of the peak

  LlamaWeights student_;
  const LlamaWeights teacher_;
  const RatioLadder ladder_;
  const Options options_;
  TokenBatches batches_;
  std::mt19937_64 random_;
  std::unique_ptr<Optimizer> optimizer_;
};

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_TRAINER_H_
