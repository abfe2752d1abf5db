// AdamW (Loshchilov and Hutter, 2019) over FlatParameters, with the whole gradient clipped by its norm. Waits for the
// device nowhere. Layer: tools/train. Thread-compatible.
#ifndef RATION_TOOLS_TRAIN_ADAMW_H_
#define RATION_TOOLS_TRAIN_ADAMW_H_

#include <ATen/ATen.h>

#include <cstdint>

#include "tools/train/flat_parameters.h"

namespace ration {

class AdamW {
 public:
  struct Options {
    double beta1 = 0.9;
    double beta2 = 0.98;
    double eps = 1e-8;
    double clip_norm = 1;  // 0: no clipping
  };

  // rates, decays: [N], what each element's learning rate and its decay (already multiplied by that rate) are where
  // Step's `rate` is 1. `parameters` must outlive this.
  AdamW(const FlatParameters& parameters, at::Tensor rates, at::Tensor decays, const Options& options);

  // Steps along the gradients, which it clips, and sets them to zero. Returns their norm before clipping, a scalar on
  // the device. rate: the schedule's factor on every learning rate.
  at::Tensor Step(double rate);

 private:
  const FlatParameters& parameters_;
  const at::Tensor rates_, decays_;
  const Options options_;
  at::Tensor mean_, square_;  // running means of the gradient and of its square
  int64_t steps_ = 0;
};

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_ADAMW_H_
