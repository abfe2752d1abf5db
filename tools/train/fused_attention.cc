#include "tools/train/fused_attention.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "tools/train/decoder_math.h"
#ifdef RATION_TRAIN_CUDA
#include "tools/train/fused_attention_cuda.h"
#endif
#include "tools/train/fused_attention_kernel.h"

namespace ration {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class FusedAttentionFunction : public torch::autograd::Function<FusedAttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q_in, const at::Tensor& k_in,
                            const at::Tensor& v_in) {
    const at::Tensor q = q_in.contiguous(), k = k_in.contiguous(), v = v_in.contiguous();
    const AttentionShape shape = Shape(q, k);
    at::Tensor out = at::empty_like(q);
    at::Tensor logsumexp = at::empty({shape.batch, shape.length, shape.query_heads}, q.options());
    context->save_for_backward({q, k, v, out, logsumexp});
#ifdef RATION_TRAIN_CUDA
    if (q.is_cuda()) {
      CudaAttentionForward(shape, q.data_ptr<float>(), k.data_ptr<float>(), v.data_ptr<float>(), out.data_ptr<float>(),
                           logsumexp.data_ptr<float>());
      return out;
    }
#endif
    at::parallel_for(0, shape.batch * shape.kv_heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        AttentionForward(shape, i / shape.kv_heads, i % shape.kv_heads, q.data_ptr<float>(), k.data_ptr<float>(),
                         v.data_ptr<float>(), out.data_ptr<float>(), logsumexp.data_ptr<float>());
      }
    });
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &logsumexp = saved[4];
    const at::Tensor d_out = gradients[0].contiguous();
    const AttentionShape shape = Shape(q, k);
    at::Tensor dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
#ifdef RATION_TRAIN_CUDA
    if (q.is_cuda()) {
      const at::Tensor delta = at::empty_like(logsumexp);
      CudaAttentionBackward(shape, q.data_ptr<float>(), k.data_ptr<float>(), v.data_ptr<float>(), out.data_ptr<float>(),
                            logsumexp.data_ptr<float>(), d_out.data_ptr<float>(), delta.data_ptr<float>(),
                            dq.data_ptr<float>(), dk.data_ptr<float>(), dv.data_ptr<float>());
      return {dq, dk, dv};
    }
#endif
    at::parallel_for(0, shape.batch * shape.kv_heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        AttentionBackward(shape, i / shape.kv_heads, i % shape.kv_heads, q.data_ptr<float>(), k.data_ptr<float>(),
                          v.data_ptr<float>(), out.data_ptr<float>(), logsumexp.data_ptr<float>(),
                          d_out.data_ptr<float>(), dq.data_ptr<float>(), dk.data_ptr<float>(), dv.data_ptr<float>());
      }
    });
    return {dq, dk, dv};
  }

 private:
  static AttentionShape Shape(const at::Tensor& q, const at::Tensor& k) {
    return {q.size(0), q.size(1), q.size(2), k.size(2), q.size(3)};
  }
};

// Whether there are loops for tensors where q is.
bool DeviceSupported(const at::Tensor& q) {
#ifdef RATION_TRAIN_CUDA
  if (q.is_cuda()) return true;
#endif
  return q.is_cpu();
}

}  // namespace

at::Tensor FusedAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (!DeviceSupported(q) || !AttentionHeadSizeSupported(q.size(3))) return PlainAttention(q, k, v);
  return FusedAttentionFunction::apply(q, k, v);
}

}  // namespace ration
