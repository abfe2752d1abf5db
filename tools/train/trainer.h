// The training loop's body: one optimiser step of routed training. Draws ratios and a batch, runs teacher and student,
// sums the losses, steps AdamW on a cosine schedule with warm-up. Everything happens on the weights' device, and a step
// does not wait for it: only reports do. Knows nothing of files, flags or printing. Layer: tools/train.
// Thread-compatible.
#ifndef RATION_TOOLS_TRAIN_TRAINER_H_
#define RATION_TOOLS_TRAIN_TRAINER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "engine/budget/ratio_ladder.h"
#include "engine/router/expert_spec.h"
#include "tools/train/adamw.h"
#include "tools/train/flat_parameters.h"
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
    double sample_share = 0.5;          // of a batch's sequences, those that are rows of `samples`
    double average_decay = 0;           // of the running mean of the weights, a step; 0: the weights themselves
    uint64_t seed = 1;
    RatioDrawOptions draw;
  };
  // Means over the steps since the last report.
  struct Report {
    int64_t steps = 0;
    double loss = 0;         // language loss
    double router_loss = 0;  // before aux_alpha
    double gradient_norm = 0;
    double learning_rate = 0;      // the last step's
    double kv_fraction = 0;        // asked for
    std::vector<double> asked;     // share of each expert
    std::vector<double> realised;  // share of tokens that went to each expert, mean over layers
  };

  // `student` must have routers; its tensors are trained in place. `teacher` (a plain model, or the student's start)
  // gives the distillation targets at full KV; with distill 0 it is not run. stream: the text's tokens; samples: [n,
  // length + 1] sequences to train on beside it, or undefined. All on one device.
  Trainer(LlamaWeights student, LlamaWeights teacher, RatioLadder ladder, at::Tensor stream, const at::Tensor& samples,
          const Options& options);

  // progress in [0, 1): how much of the run is over, for the schedule.
  void Step(double progress);
  // Waits for the device. REQUIRES: a step since the last report.
  Report TakeReport();

  // The weights as they are, in training, and a copy of what the run would give if it ended here: their running mean.
  const LlamaWeights& weights() const { return student_; }
  LlamaWeights Result() const;
  double epochs() const { return batches_.epochs(); }  // of the text

 private:
  double Rate(double progress) const;  // in (0, 1], of the peak
  at::Tensor NextBatch();              // [batch, length + 1]
  void Record(const std::vector<Ratio>& ratios, const std::vector<LayerRouting>& routing, const at::Tensor& numbers);

  LlamaWeights student_;
  const LlamaWeights teacher_;
  const RatioLadder ladder_;
  const Options options_;
  TokenBatches batches_;
  std::optional<TokenBatches> samples_;
  std::mt19937_64 random_;
  std::vector<std::string> names_;             // of the trained tensors, in the order of parameters_
  std::unique_ptr<FlatParameters> parameters_;
  std::unique_ptr<AdamW> adamw_;
  at::Tensor average_;                         // [N], of parameters_->values()
  int64_t steps_ = 0;
  Report sums_;                                // asked and kv_fraction are sums, the rest is in device_sums_
  at::Tensor device_sums_;                     // loss, router loss, gradient norm, realised shares
};

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_TRAINER_H_
