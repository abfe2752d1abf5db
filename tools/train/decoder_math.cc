#include "tools/train/decoder_math.h"

#include <cmath>
#include <limits>

namespace ration {

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& scale, double eps) {
  return x * at::rsqrt(at::mean(x * x, {-1}, /*keepdim=*/true) + eps) * scale;
}

at::Tensor SoftCap(const at::Tensor& x, double cap) { return cap == 0 ? x : at::tanh(x / cap) * cap; }

at::Tensor PlainAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionRule& rule) {
  const int64_t length = q.size(1), repeat = q.size(2) / k.size(2);
  const double scale = rule.scale != 0 ? rule.scale : 1 / std::sqrt(static_cast<double>(q.size(3)));
  const at::Tensor query = q.transpose(1, 2);                                  // [B, H_q, T, d]
  const at::Tensor key = at::repeat_interleave(k.transpose(1, 2), repeat, 1);  // [B, H_q, T, d]
  const at::Tensor value = at::repeat_interleave(v.transpose(1, 2), repeat, 1);
  const at::Tensor everywhere = at::ones({length, length}, q.options().dtype(at::kBool));
  at::Tensor hidden = everywhere.triu(1);
  if (rule.window > 0) hidden = hidden.logical_or(everywhere.tril(-rule.window));
  at::Tensor scores = SoftCap(at::matmul(query, key.transpose(2, 3)) * scale, rule.softcap);
  scores = scores.masked_fill(hidden, -std::numeric_limits<float>::infinity());
  return at::matmul(at::softmax(scores, -1), value).transpose(1, 2);
}

}  // namespace ration
