// Self-attention over a grid of tokens with decomposed relative positions (MViTv2, arXiv 2112.01526,
// section 3.1, as ViTDet uses it), on the CPU.
//
// The score of query (y, x) and key (i, j) of one head is scale * q.k + q.rel_h[y, i] + q.rel_w[x, j].
// Attention is within windows of the grid, or within one window that is the whole grid. No matrix of
// all tokens by all tokens is ever made: a thread takes one head of one window and a few rows of
// queries at a time, and the backward pass computes their scores again. What a thread works on stays
// in its cache.

#include "guarded.h"
#include "plain_kernels.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

namespace {

using at::Tensor;

// Score rows a thread holds at once.
constexpr int64_t kQueryRows = 256;

// Feature maps [B, H, W, ..] cut into windows of rows x columns; the last ones reach over the edge.
struct Windows {
  int64_t batch, height, width, rows, columns, heads, channels;

  int64_t down() const { return (height + rows - 1) / rows; }
  int64_t across() const { return (width + columns - 1) / columns; }
  int64_t tokens() const { return rows * columns; }
  int64_t units() const { return batch * down() * across() * heads; }
  int64_t rows_at_once() const { return std::max<int64_t>(1, kQueryRows / columns); }
  double scale() const { return 1.0 / std::sqrt(static_cast<double>(channels)); }
};

// One head in one window of one sample.
struct Unit {
  int64_t sample, head, top, left, rows, columns;

  Unit(const Windows &windows, int64_t index) {
    head = index % windows.heads;
    index /= windows.heads;
    left = index % windows.across() * windows.columns;
    index /= windows.across();
    top = index % windows.down() * windows.rows;
    sample = index / windows.down();
    rows = std::min(windows.rows, windows.height - top);
    columns = std::min(windows.columns, windows.width - left);
  }
  bool whole(const Windows &windows) const {
    return rows == windows.rows && columns == windows.columns;
  }
  // The part of a map [B, H, W, heads, d] inside the picture: [rows, columns, d].
  Tensor inside(const Tensor &map) const {
    return map.select(0, sample).narrow(0, top, rows).narrow(1, left, columns).select(2, head);
  }
};

// Queries, keys and values [3, T, d] of one unit. Where the window reaches over the edge, tokens are the
// projection's bias: the reference pads the normalised map with zeros before projecting.
Tensor gather(const Windows &windows, const Unit &unit, const Tensor &qkv, const Tensor &bias) {
  Tensor local = at::empty({3, windows.rows, windows.columns, windows.channels}, qkv.options());
  for (int64_t part = 0; part < 3; ++part) {
    Tensor tokens = local[part];
    if (!unit.whole(windows)) tokens.copy_(bias[part][unit.head].expand_as(tokens));
    tokens.narrow(0, 0, unit.rows).narrow(1, 0, unit.columns).copy_(unit.inside(qkv.select(3, part)));
  }
  return local.view({3, windows.tokens(), windows.channels});
}

// Probabilities [n, T] of the queries q [n, d] in window rows [first, first + n / columns), into `scores`.
void probabilities(const Windows &windows, const Tensor &q, const Tensor &keys, const Tensor &rel_h,
                   const Tensor &rel_w, int64_t first, Tensor &scores) {
  const int64_t rows = q.size(0) / windows.columns;
  Tensor by_row = q.view({rows, windows.columns, windows.channels});
  Tensor bias_h = at::bmm(by_row, rel_h.narrow(0, first, rows).transpose(1, 2));
  Tensor bias_w = at::bmm(by_row.transpose(0, 1), rel_w.transpose(1, 2));
  Tensor cells = scores.view({rows, windows.columns, windows.rows, windows.columns});
  at::add_out(cells, bias_h.unsqueeze(3), bias_w.transpose(0, 1).unsqueeze(2));
  scores.addmm_(q, keys.t(), 1, windows.scale());
  at::_softmax_out(scores, scores, 1, false);
}

struct RelativeAttention : torch::autograd::Function<RelativeAttention> {
  static Tensor forward(torch::autograd::AutogradContext *context, const Tensor &qkv,
                        const Tensor &bias, const Tensor &rel_h, const Tensor &rel_w, int64_t heads) {
    Windows windows = cut(qkv, rel_h, rel_w, heads);
    Tensor parts = split(windows, qkv), edge = bias.view({3, heads, windows.channels});
    Tensor output =
        at::empty({windows.batch, windows.height, windows.width, heads, windows.channels}, qkv.options());
    at::parallel_for(0, windows.units(), 1, [&](int64_t begin, int64_t end) {
      PlainKernels plain;
      const int64_t step = std::min(windows.rows_at_once(), windows.rows);
      Tensor buffer = at::empty({step * windows.columns, windows.tokens()}, qkv.options());
      Tensor attended = at::empty({windows.tokens(), windows.channels}, qkv.options());
      for (int64_t index = begin; index < end; ++index) {
        Unit unit(windows, index);
        Tensor local = gather(windows, unit, parts, edge);
        for (int64_t first = 0; first < unit.rows; first += step) {
          const int64_t at = first * windows.columns;
          const int64_t count = std::min(step, unit.rows - first) * windows.columns;
          Tensor scores = buffer.narrow(0, 0, count), into = attended.narrow(0, at, count);
          probabilities(windows, local[0].narrow(0, at, count), local[1], rel_h, rel_w, first, scores);
          at::mm_out(into, scores, local[2]);
        }
        Tensor map = attended.view({windows.rows, windows.columns, windows.channels});
        unit.inside(output).copy_(map.narrow(0, 0, unit.rows).narrow(1, 0, unit.columns));
      }
    });
    context->save_for_backward({qkv, bias, rel_h, rel_w});
    context->saved_data["heads"] = heads;
    return output.view({windows.batch, windows.height, windows.width, heads * windows.channels});
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    auto saved = context->get_saved_variables();
    Tensor qkv = saved[0], bias = saved[1], rel_h = saved[2], rel_w = saved[3];
    const int64_t heads = context->saved_data["heads"].toInt();
    Windows windows = cut(qkv, rel_h, rel_w, heads);
    Tensor parts = split(windows, qkv), edge = bias.view({3, heads, windows.channels});
    Tensor outer = gradients[0].contiguous().view(
        {windows.batch, windows.height, windows.width, heads, windows.channels});
    Tensor d_qkv = at::empty_like(parts);
    // Sums over windows and samples are made in order afterwards, so threads do not change the result.
    const int64_t units = windows.units();
    Tensor d_edge = at::zeros({units, 3, windows.channels}, qkv.options());
    Tensor d_rel_h = at::zeros({units, windows.rows, windows.rows, windows.channels}, qkv.options());
    Tensor d_rel_w =
        at::zeros({units, windows.columns, windows.columns, windows.channels}, qkv.options());
    at::parallel_for(0, units, 1, [&](int64_t begin, int64_t end) {
      PlainKernels plain;
      const int64_t step = std::min(windows.rows_at_once(), windows.rows);
      Tensor buffers = at::empty({2, step * windows.columns, windows.tokens()}, qkv.options());
      Tensor d_local = at::empty({3, windows.tokens(), windows.channels}, qkv.options());
      Tensor d_outer = at::empty({windows.rows, windows.columns, windows.channels}, qkv.options());
      for (int64_t index = begin; index < end; ++index) {
        Unit unit(windows, index);
        Tensor local = gather(windows, unit, parts, edge);
        // Queries beyond the edge are thrown away, so no gradient comes from them.
        if (!unit.whole(windows)) d_outer.zero_();
        d_outer.narrow(0, 0, unit.rows).narrow(1, 0, unit.columns).copy_(unit.inside(outer));
        d_local.zero_();
        Tensor d_keys = d_local[1], d_values = d_local[2];
        for (int64_t first = 0; first < unit.rows; first += step) {
          const int64_t rows = std::min(step, unit.rows - first);
          const int64_t at = first * windows.columns, count = rows * windows.columns;
          Tensor p = buffers[0].narrow(0, 0, count), d_p = buffers[1].narrow(0, 0, count);
          Tensor q = local[0].narrow(0, at, count), d_q = d_local[0].narrow(0, at, count);
          Tensor g = d_outer.view({windows.tokens(), windows.channels}).narrow(0, at, count);
          probabilities(windows, q, local[1], rel_h, rel_w, first, p);
          d_values.addmm_(p.t(), g);
          at::mm_out(d_p, g, local[2].t());
          at::_softmax_backward_data_out(d_p, d_p, p, 1, qkv.scalar_type());
          d_q.addmm_(d_p, local[1], 1, windows.scale());
          d_keys.addmm_(d_p.t(), q, 1, windows.scale());
          Tensor cells = d_p.view({rows, windows.columns, windows.rows, windows.columns});
          Tensor d_bias_h = cells.sum(3);                               // [rows, columns, rows of keys]
          Tensor d_bias_w = cells.sum(2).transpose(0, 1).contiguous();  // [columns, rows, columns of keys]
          Tensor by_row = q.view({rows, windows.columns, windows.channels});
          Tensor d_h = d_rel_h[index].narrow(0, first, rows), d_w = d_rel_w[index];
          d_h.baddbmm_(d_bias_h.transpose(1, 2), by_row);
          d_w.baddbmm_(d_bias_w.transpose(1, 2), by_row.transpose(0, 1));
          Tensor d_by_row = d_q.view({rows, windows.columns, windows.channels});
          d_by_row.baddbmm_(d_bias_h, rel_h.narrow(0, first, rows));
          d_by_row.add_(at::bmm(d_bias_w, rel_w).transpose(0, 1));
        }
        for (int64_t part = 0; part < 3; ++part) {
          Tensor tokens = d_local[part].view({windows.rows, windows.columns, windows.channels});
          Tensor inside = tokens.narrow(0, 0, unit.rows).narrow(1, 0, unit.columns);
          unit.inside(d_qkv.select(3, part)).copy_(inside);
          if (!unit.whole(windows)) {
            inside.zero_();
            Tensor sum = d_edge[index][part];
            at::sum_out(sum, tokens.view({-1, windows.channels}), 0);
          }
        }
      }
    });
    Tensor d_bias = d_edge.view({units / heads, heads, 3, windows.channels}).sum(0).transpose(0, 1);
    return {d_qkv.view_as(qkv), d_bias.reshape_as(bias), d_rel_h.sum(0), d_rel_w.sum(0), Tensor()};
  }

 private:
  static Windows cut(const Tensor &qkv, const Tensor &rel_h, const Tensor &rel_w, int64_t heads) {
    return {qkv.size(0),    qkv.size(1), qkv.size(2),           rel_h.size(0),
            rel_w.size(0), heads,       qkv.size(3) / 3 / heads};
  }
  static Tensor split(const Windows &windows, const Tensor &qkv) {
    return qkv.view({windows.batch, windows.height, windows.width, 3, windows.heads, windows.channels});
  }
};

}  // namespace

extern "C" {

char *deepmim_relative_attention(const at::Tensor *qkv, const at::Tensor *bias,
                                 const at::Tensor *rel_h, const at::Tensor *rel_w, int64_t heads,
                                 at::Tensor **output) {
  return guarded([&] {
    *output = new at::Tensor(RelativeAttention::apply(qkv->contiguous(), bias->contiguous(),
                                                      rel_h->contiguous(), rel_w->contiguous(), heads));
  });
}

}  // extern "C"
