// Self-attention over a grid of tokens with decomposed relative positions (MViTv2, arXiv 2112.01526,
// section 3.1, as ViTDet uses it), on the CPU.
//
// The score of query (y, x) and key (i, j) of one head is scale * q.k + q.rel_h[y, i] + q.rel_w[x, j].
// No matrix of all tokens by all tokens is ever made: threads take a few grid rows of queries of one
// head each, and the backward pass computes the scores of these rows again. What a thread works on
// stays in its cache.

#include "guarded.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace {

using at::Tensor;

// Score rows a thread holds at once.
constexpr int64_t kQueryRows = 256;

// Worker threads have their own thread-local state: neither autograd nor autocast may see what they do.
struct PlainKernels {
  at::AutoDispatchBelowADInplaceOrView below_autograd;
  c10::impl::ExcludeDispatchKeyGuard no_autocast{c10::autocast_dispatch_keyset};
};

// One head of one sample.
struct Head {
  Tensor q, k, v;  // [T, d], views of qkv
};

struct Grid {
  int64_t batch, height, width, heads, channels;

  int64_t tokens() const { return height * width; }
  int64_t rows_at_once() const { return std::max<int64_t>(1, kQueryRows / width); }

  // qkv [B, T, 3, heads, d]
  Head head(const Tensor &qkv, int64_t index) const {
    Tensor sample = qkv.select(0, index / heads);
    auto part = [&](int64_t which) { return sample.select(1, which).select(1, index % heads); };
    return {part(0), part(1), part(2)};
  }
};

Tensor grid_of(const Tensor &tokens, int64_t rows, int64_t width) {
  return tokens.view({rows, width, tokens.size(1)});
}

// Probabilities [n, T] of the queries in grid rows [first, first + rows), into `scores`.
void probabilities(const Grid &grid, const Tensor &q, const Tensor &keys, const Tensor &rel_h,
                   const Tensor &rel_w, int64_t first, int64_t rows, double scale, Tensor &scores) {
  Tensor by_row = grid_of(q, rows, grid.width);                                   // [rows, W, d]
  Tensor bias_h = at::bmm(by_row, rel_h.narrow(0, first, rows).transpose(1, 2));  // [rows, W, H]
  Tensor bias_w = at::bmm(by_row.transpose(0, 1), rel_w.transpose(1, 2));         // [W, rows, W]
  Tensor cells = scores.view({rows, grid.width, grid.height, grid.width});
  at::add_out(cells, bias_h.unsqueeze(3), bias_w.transpose(0, 1).unsqueeze(2));
  scores.addmm_(q, keys.t(), 1, scale);
  at::_softmax_out(scores, scores, 1, false);
}

struct RelativeAttention : torch::autograd::Function<RelativeAttention> {
  static Tensor forward(torch::autograd::AutogradContext *context, const Tensor &qkv,
                        const Tensor &rel_h, const Tensor &rel_w, int64_t heads) {
    Grid grid{qkv.size(0), rel_h.size(0), rel_w.size(0), heads, qkv.size(2) / 3 / heads};
    Tensor parts = qkv.view({grid.batch, grid.tokens(), 3, heads, grid.channels});
    Tensor output = at::empty({grid.batch, grid.tokens(), heads, grid.channels}, qkv.options());
    const double scale = 1.0 / std::sqrt(static_cast<double>(grid.channels));
    const int64_t step = grid.rows_at_once();
    const int64_t strips = (grid.height + step - 1) / step;
    at::parallel_for(0, grid.batch * heads * strips, 1, [&](int64_t begin, int64_t end) {
      PlainKernels plain;
      Tensor buffer = at::empty({step * grid.width, grid.tokens()}, qkv.options());
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t index = unit / strips;
        const int64_t first = unit % strips * step;
        const int64_t rows = std::min(step, grid.height - first);
        const int64_t at = first * grid.width, count = rows * grid.width;
        Head head = grid.head(parts, index);
        Tensor scores = buffer.narrow(0, 0, count);
        Tensor q = head.q.narrow(0, at, count).contiguous();
        probabilities(grid, q, head.k, rel_h, rel_w, first, rows, scale, scores);
        Tensor into = output.select(0, index / heads).select(1, index % heads).narrow(0, at, count);
        at::mm_out(into, scores, head.v);
      }
    });
    context->save_for_backward({qkv, rel_h, rel_w});
    context->saved_data["heads"] = heads;
    return output.view({grid.batch, grid.tokens(), heads * grid.channels});
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    auto saved = context->get_saved_variables();
    Tensor qkv = saved[0], rel_h = saved[1], rel_w = saved[2];
    const int64_t heads = context->saved_data["heads"].toInt();
    Grid grid{qkv.size(0), rel_h.size(0), rel_w.size(0), heads, qkv.size(2) / 3 / heads};
    Tensor parts = qkv.view({grid.batch, grid.tokens(), 3, heads, grid.channels});
    Tensor outer = gradients[0].contiguous().view({grid.batch, grid.tokens(), heads, grid.channels});
    Tensor d_qkv = at::empty_like(parts);
    // One table a head and sample, summed in order afterwards: the result does not depend on threads.
    const int64_t units = grid.batch * heads;
    Tensor d_rel_h = at::empty({units, grid.height, grid.height, grid.channels}, qkv.options());
    Tensor d_rel_w = at::zeros({units, grid.width, grid.width, grid.channels}, qkv.options());
    const double scale = 1.0 / std::sqrt(static_cast<double>(grid.channels));
    const int64_t step = grid.rows_at_once();
    at::parallel_for(0, units, 1, [&](int64_t begin, int64_t end) {
      PlainKernels plain;
      Tensor buffers = at::empty({2, step * grid.width, grid.tokens()}, qkv.options());
      for (int64_t unit = begin; unit < end; ++unit) {
        Head head = grid.head(parts, unit);
        Head into = grid.head(d_qkv, unit);
        Tensor d_outer = outer.select(0, unit / heads).select(1, unit % heads);
        Tensor d_k = at::zeros({grid.tokens(), grid.channels}, qkv.options());
        Tensor d_v = at::zeros_like(d_k);
        for (int64_t first = 0; first < grid.height; first += step) {
          const int64_t rows = std::min(step, grid.height - first);
          const int64_t at = first * grid.width, count = rows * grid.width;
          Tensor p = buffers[0].narrow(0, 0, count), d_p = buffers[1].narrow(0, 0, count);
          Tensor q = head.q.narrow(0, at, count).contiguous();
          Tensor g = d_outer.narrow(0, at, count).contiguous();
          probabilities(grid, q, head.k, rel_h, rel_w, first, rows, scale, p);
          d_v.addmm_(p.t(), g);
          at::mm_out(d_p, g, head.v.t());
          at::_softmax_backward_data_out(d_p, d_p, p, 1, qkv.scalar_type());
          Tensor d_q = at::mm(d_p, head.k).mul_(scale);
          d_k.addmm_(d_p.t(), q, 1, scale);
          Tensor cells = d_p.view({rows, grid.width, grid.height, grid.width});
          Tensor d_bias_h = cells.sum(3);                              // [rows, W, H]
          Tensor d_bias_w = cells.sum(2).transpose(0, 1).contiguous();  // [W, rows, W]
          Tensor by_row = grid_of(q, rows, grid.width);
          Tensor d_h = d_rel_h[unit].narrow(0, first, rows);
          at::bmm_out(d_h, d_bias_h.transpose(1, 2), by_row);
          Tensor d_w = d_rel_w[unit];
          d_w.baddbmm_(d_bias_w.transpose(1, 2), by_row.transpose(0, 1));
          Tensor d_by_row = grid_of(d_q, rows, grid.width);
          d_by_row.baddbmm_(d_bias_h, rel_h.narrow(0, first, rows));
          d_by_row.add_(at::bmm(d_bias_w, rel_w).transpose(0, 1));
          into.q.narrow(0, at, count).copy_(d_q);
        }
        into.k.copy_(d_k);
        into.v.copy_(d_v);
      }
    });
    return {d_qkv.view_as(qkv), d_rel_h.sum(0), d_rel_w.sum(0), Tensor()};
  }
};

}  // namespace

extern "C" {

char *deepmim_relative_attention(const at::Tensor *qkv, const at::Tensor *rel_h,
                                 const at::Tensor *rel_w, int64_t heads, at::Tensor **output) {
  return guarded([&] {
    *output = new at::Tensor(RelativeAttention::apply(qkv->contiguous(), rel_h->contiguous(),
                                                      rel_w->contiguous(), heads));
  });
}

}  // extern "C"
