#include "tools/train/head_alignment.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include <c10/core/GradMode.h>

#include "tools/train/fused_attention.h"
#include "tools/train/llama_forward.h"

namespace ration {
namespace {

constexpr double kRidge = 1e-6;  // of the trace: keeps the square roots of nearly singular matrices invertible

// A head's coordinates: its row blocks of the projections, in double. K and Q rows are kept as complex rows [d / 2, D
// (+ bias)].
struct Head {
  at::Tensor k;                 // [d/2, D+1] complex
  at::Tensor v;                 // [d, D+1]
  std::vector<at::Tensor> q;    // [d/2, D+1] complex, one a query head that reads this one
  std::vector<at::Tensor> out;  // [D, d], the same
};

at::Tensor ToComplex(const at::Tensor& rows) {  // [d, C] -> [d/2, C]
  const int64_t half = rows.size(0) / 2;
  return at::complex(rows.narrow(0, 0, half).contiguous(), rows.narrow(0, half, half).contiguous());
}

at::Tensor FromComplex(const at::Tensor& rows) { return at::cat({at::real(rows), at::imag(rows)}, 0); }

at::Tensor WithBias(const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor column = bias.defined() ? bias.unsqueeze(1) : at::zeros({weight.size(0), 1}, weight.options());
  return at::cat({weight, column}, 1).to(at::kDouble);
}

// Multiplies K's coordinates by `factor` [d/2] complex and undoes it in the queries: Re(conj(q) k) stays.
void ScaleKeys(const at::Tensor& factor, Head& head) {
  head.k = head.k * factor.unsqueeze(1);
  for (at::Tensor& q : head.q) q = q / at::conj(factor).resolve_conj().unsqueeze(1);
}

// Multiplies V's coordinates by `matrix` [d, d] and undoes it in the output projections.
void TransformValues(const at::Tensor& matrix, Head& head) {
  const at::Tensor inverse = at::inverse(matrix);
  head.v = at::matmul(matrix, head.v);
  for (at::Tensor& out : head.out) out = at::matmul(out, inverse);
}

// Scales coordinates so that an error of one unit in any of them does equal harm: to the scores for K, to the output
// for V.
void Normalise(const at::Tensor& inputs, Head& head) {
  at::Tensor power = at::zeros({head.k.size(0)}, at::kDouble);
  for (const at::Tensor& q : head.q) {
    power += at::matmul(inputs.to(at::kComplexDouble), q.t()).abs().square().mean(0);
  }
  ScaleKeys((power + kRidge * power.sum()).sqrt().to(at::kComplexDouble), head);
  at::Tensor metric = at::zeros({head.v.size(0), head.v.size(0)}, at::kDouble);
  for (const at::Tensor& out : head.out) metric += at::matmul(out.t(), out);
  metric += kRidge * metric.trace() * at::eye(metric.size(0), at::kDouble);
  const auto [values, vectors] = at::linalg_eigh(metric);
  TransformValues(at::matmul(vectors * values.sqrt(), vectors.t()), head);
}

// The likeness of two groups of heads after the best rotation of the second, and that rotation.
struct Match {
  double likeness;
  at::Tensor phase;     // [d/2] complex, of modulus one
  at::Tensor rotation;  // [d, d] orthogonal
};

Match BestRotation(const at::Tensor& inputs, const std::vector<Head>& a, const std::vector<Head>& b) {
  const auto mean_k = [&](const std::vector<Head>& heads) {
    at::Tensor sum = at::zeros_like(heads[0].k);
    for (const Head& head : heads) sum += head.k;
    return at::matmul(inputs.to(at::kComplexDouble), sum.t()) / static_cast<double>(heads.size());  // [N, d/2]
  };
  const auto mean_v = [&](const std::vector<Head>& heads) {
    at::Tensor sum = at::zeros_like(heads[0].v);
    for (const Head& head : heads) sum += head.v;
    return at::matmul(inputs, sum.t()) / static_cast<double>(heads.size());  // [N, d]
  };
  const at::Tensor ka = mean_k(a), kb = mean_k(b), va = mean_v(a), vb = mean_v(b);
  const at::Tensor cross = (ka * at::conj(kb).resolve_conj()).sum(0);  // [d/2]
  const at::Tensor size = cross.abs() + 1e-30;
  const auto [u, s, vh] = at::linalg_svd(at::matmul(va.t(), vb));
  Match match;
  match.phase = cross / size;
  match.rotation = at::matmul(u, vh);
  const double k_norm = ka.abs().square().sum().sqrt().item<double>() * kb.abs().square().sum().sqrt().item<double>();
  const double v_norm = va.norm().item<double>() * vb.norm().item<double>();
  match.likeness = size.sum().item<double>() / (k_norm + 1e-30) + s.sum().item<double>() / (v_norm + 1e-30);
  return match;
}

// Pairs the groups greedily, most alike first, and merges each pair. Halves the number of groups.
std::vector<std::vector<Head>> PairUp(const at::Tensor& inputs, std::vector<std::vector<Head>> groups) {
  std::vector<std::vector<Head>> merged;
  while (groups.size() > 1) {
    size_t best_i = 0, best_j = 1;
    Match best{-1, {}, {}};
    for (size_t i = 0; i < groups.size(); ++i) {
      for (size_t j = i + 1; j < groups.size(); ++j) {
        Match match = BestRotation(inputs, groups[i], groups[j]);
        if (match.likeness > best.likeness) {
          best = std::move(match);
          best_i = i;
          best_j = j;
        }
      }
    }
    for (Head& head : groups[best_j]) {
      ScaleKeys(best.phase, head);
      TransformValues(best.rotation, head);
    }
    std::vector<Head> pair = std::move(groups[best_i]);
    std::move(groups[best_j].begin(), groups[best_j].end(), std::back_inserter(pair));
    groups.erase(groups.begin() + best_j);
    groups.erase(groups.begin() + best_i);
    merged.push_back(std::move(pair));
  }
  return merged;
}

}  // namespace

void AlignHeads(const at::Tensor& sequences, LlamaWeights& weights) {
  const c10::NoGradGuard no_grad;
  const ModelConfig& c = weights.config;
  const int64_t d = c.head_dim, repeat = c.num_query_heads / c.num_kv_heads;
  std::vector<at::Tensor> attention_inputs;
  ForwardOptions forward;
  forward.attention = FusedAttention;
  forward.attention_inputs = &attention_inputs;
  LlamaForward(weights, sequences, forward);

  for (int64_t layer = 0; layer < c.num_layers; ++layer) {
    LlamaLayerWeights& w = weights.layers[layer];
    at::Tensor inputs = attention_inputs[layer].reshape({-1, c.hidden_size}).to(at::kDouble);
    inputs = at::cat({inputs, at::ones({inputs.size(0), 1}, at::kDouble)}, 1);  // the bias's input
    const at::Tensor q_rows = WithBias(w.q_proj, w.q_bias), k_rows = WithBias(w.k_proj, w.k_bias),
                     v_rows = WithBias(w.v_proj, w.v_bias), out_columns = w.o_proj.to(at::kDouble);
    std::vector<std::vector<Head>> groups;
    for (int64_t h = 0; h < c.num_kv_heads; ++h) {
      Head head;
      head.k = ToComplex(k_rows.narrow(0, h * d, d));
      head.v = v_rows.narrow(0, h * d, d);
      for (int64_t r = h * repeat; r < (h + 1) * repeat; ++r) {
        head.q.push_back(ToComplex(q_rows.narrow(0, r * d, d)));
        head.out.push_back(out_columns.narrow(1, r * d, d));
      }
      Normalise(inputs, head);
      groups.push_back({std::move(head)});
    }
    while (groups.size() > 1 && groups.size() % 2 == 0) groups = PairUp(inputs, std::move(groups));

    std::vector<at::Tensor> q, k, v, out;
    for (const std::vector<Head>& group : groups) {
      for (const Head& head : group) {
        k.push_back(FromComplex(head.k));
        v.push_back(head.v);
        for (const at::Tensor& rows : head.q) q.push_back(FromComplex(rows));
        out.insert(out.end(), head.out.begin(), head.out.end());
      }
    }
    const auto split = [&](const std::vector<at::Tensor>& parts, at::Tensor& weight, at::Tensor& bias) {
      const at::Tensor rows = at::cat(parts, 0).to(at::kFloat);
      weight = rows.narrow(1, 0, c.hidden_size).contiguous();
      if (bias.defined()) bias = rows.select(1, c.hidden_size).contiguous();
    };
    split(q, w.q_proj, w.q_bias);
    split(k, w.k_proj, w.k_bias);
    split(v, w.v_proj, w.v_bias);
    w.o_proj = at::cat(out, 1).to(at::kFloat).contiguous();
  }
}

}  // namespace ration
