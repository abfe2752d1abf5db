// What training minimises.
// Layer: tools/train. Pure functions; thread-safe.
#ifndef RATION_TOOLS_TRAIN_LOSSES_H_
#define RATION_TOOLS_TRAIN_LOSSES_H_

#include <vector>

#include <ATen/ATen.h>

#include "tools/train/llama_forward.h"

namespace ration {

// Mean over tokens of the cross entropy to a blend of the next token and the teacher's distribution:
// (1 - distill) * CE(next token) + distill * CE(softmax(teacher)). The second part differs from KL(teacher || student)
// by the teacher's entropy, which no weight changes. logits, teacher: [B, T, V] (teacher undefined: distill is taken as
// 0); targets: [B, T] int64; distill in [0, 1].
at::Tensor LanguageLoss(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& teacher, double distill);

// The auxiliary loss CE(S(x), assignment), mean over layers and tokens: each score is a sigmoid, so it is the binary
// cross entropy of every expert's score against "was this token assigned to it". It makes the local choice of decode
// agree with the global one of prefill.
at::Tensor RouterLoss(const std::vector<LayerRouting>& routing);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_LOSSES_H_
