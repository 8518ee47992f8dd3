// Self-attention with a learnt bias for each distance of two places of a grid (BEiT, arXiv 2106.08254,
// appendix; Swin, arXiv 2103.14030, section 3.2), on the CPU. A class token may stand in front of the
// grid; its pairs have three biases of their own.
//
// The score of two tokens of one head is scale * q.k + bias[distance]. No matrix of all pairs is kept:
// a thread takes one head of one sample and a strip of queries at a time. Keys of one row of the grid
// have neighbouring distances to any query, so their biases are a run of the table read backwards, and a
// strip's biases are copied into the scores before the product is added.

#include "guarded.h"
#include "plain_kernels.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

namespace {

using at::Tensor;

// Score rows a thread holds at once.
constexpr int64_t kQueryRows = 256;

// What stands behind the distances of the grid in a table: class token to all, all to class token, class
// token to itself.
constexpr int64_t kFromClass = 0, kToClass = 1, kClassItself = 2, kClassEntries = 3;

struct Sizes {
  int64_t batch, tokens, heads, channels, rows, columns;

  int64_t units() const { return batch * heads; }
  int64_t distances() const { return (2 * rows - 1) * (2 * columns - 1); }
  int64_t across() const { return 2 * columns - 1; }
  double scale() const { return 1.0 / std::sqrt(static_cast<double>(channels)); }
  // Where the run of distances to the keys of row `key_row` begins, in a table read backwards, for the
  // query at `place` of the grid.
  int64_t run(int64_t place, int64_t key_row) const {
    const int64_t row = place / columns, column = place % columns;
    return (rows - 1 - row + key_row) * across() + (columns - 1 - column);
  }
};

// Biases of the queries [first, first + count) and all keys, into `scores` [count, tokens]. `grid` is one
// head's distances read backwards, `entries` its three of the class token.
template <typename Number>
void lay_out(const Sizes &sizes, const Number *grid, const Number *entries, int64_t first, int64_t count,
             Number *scores) {
  for (int64_t query = first; query < first + count; ++query, scores += sizes.tokens) {
    if (query == 0) {
      std::fill_n(scores, sizes.tokens, entries[kFromClass]);
      scores[0] = entries[kClassItself];
      continue;
    }
    scores[0] = entries[kToClass];
    for (int64_t row = 0; row < sizes.rows; ++row) {
      std::copy_n(grid + sizes.run(query - 1, row), sizes.columns, scores + 1 + row * sizes.columns);
    }
  }
}

// The other direction: adds gradients of scores up by distance.
template <typename Number>
void add_up(const Sizes &sizes, const Number *d_scores, int64_t first, int64_t count, Number *grid,
            Number *entries) {
  for (int64_t query = first; query < first + count; ++query, d_scores += sizes.tokens) {
    if (query == 0) {
      entries[kClassItself] += d_scores[0];
      for (int64_t key = 1; key < sizes.tokens; ++key) entries[kFromClass] += d_scores[key];
      continue;
    }
    entries[kToClass] += d_scores[0];
    for (int64_t row = 0; row < sizes.rows; ++row) {
      Number *into = grid + sizes.run(query - 1, row);
      const Number *from = d_scores + 1 + row * sizes.columns;
      for (int64_t column = 0; column < sizes.columns; ++column) into[column] += from[column];
    }
  }
}

// Per head, a table [distances + 3, heads] as the loops above take it.
struct Biases {
  Tensor grid;     // [heads, distances], read backwards
  Tensor entries;  // [heads, 3]

  Biases(const Sizes &sizes, const Tensor &table)
      : grid(table.narrow(0, 0, sizes.distances()).flip(0).t().contiguous()),
        entries(table.narrow(0, sizes.distances(), kClassEntries).t().contiguous()) {}
};

// Probabilities [count, T] of one head's queries from `first` on, into `scores`.
void probabilities(const Sizes &sizes, const Tensor &q, const Tensor &keys, const Tensor &grid,
                   const Tensor &entries, int64_t first, Tensor &scores) {
  AT_DISPATCH_FLOATING_TYPES(scores.scalar_type(), "biased_attention", [&] {
    lay_out<scalar_t>(sizes, grid.const_data_ptr<scalar_t>(), entries.const_data_ptr<scalar_t>(), first,
                      q.size(0), scores.mutable_data_ptr<scalar_t>());
  });
  scores.addmm_(q, keys.t(), 1, sizes.scale());
  at::_softmax_out(scores, scores, 1, false);
}

struct BiasedAttention : torch::autograd::Function<BiasedAttention> {
  static Tensor forward(torch::autograd::AutogradContext *context, const Tensor &qkv, const Tensor &table,
                        int64_t heads, int64_t rows, int64_t columns) {
    Sizes sizes = measure(qkv, heads, rows, columns);
    Tensor parts = split(sizes, qkv);
    Biases biases(sizes, table);
    Tensor output = at::empty({sizes.batch, sizes.tokens, heads, sizes.channels}, qkv.options());
    at::parallel_for(0, sizes.units(), 1, [&](int64_t begin, int64_t end) {
      PlainKernels plain;
      const int64_t step = std::min(kQueryRows, sizes.tokens);
      Tensor buffer = at::empty({step, sizes.tokens}, qkv.options());
      for (int64_t index = begin; index < end; ++index) {
        const int64_t sample = index / heads, head = index % heads;
        Tensor local = parts[sample].select(2, head).transpose(0, 1).contiguous();  // [3, T, d]
        for (int64_t first = 0; first < sizes.tokens; first += step) {
          const int64_t count = std::min(step, sizes.tokens - first);
          Tensor scores = buffer.narrow(0, 0, count);
          probabilities(sizes, local[0].narrow(0, first, count), local[1], biases.grid[head],
                        biases.entries[head], first, scores);
          output[sample].narrow(0, first, count).select(1, head).copy_(at::mm(scores, local[2]));
        }
      }
    });
    context->save_for_backward({qkv, table});
    context->saved_data["heads"] = heads;
    context->saved_data["rows"] = rows;
    context->saved_data["columns"] = columns;
    return output.view({sizes.batch, sizes.tokens, heads * sizes.channels});
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    auto saved = context->get_saved_variables();
    Tensor qkv = saved[0], table = saved[1];
    const int64_t heads = context->saved_data["heads"].toInt();
    Sizes sizes = measure(qkv, heads, context->saved_data["rows"].toInt(),
                          context->saved_data["columns"].toInt());
    Tensor parts = split(sizes, qkv);
    Biases biases(sizes, table);
    Tensor outer = gradients[0].contiguous().view({sizes.batch, sizes.tokens, heads, sizes.channels});
    Tensor d_parts = at::empty_like(parts);
    // Sums over samples are made in order afterwards, so threads do not change the result.
    Tensor d_grid = at::zeros({sizes.units(), sizes.distances()}, qkv.options());
    Tensor d_entries = at::zeros({sizes.units(), kClassEntries}, qkv.options());
    at::parallel_for(0, sizes.units(), 1, [&](int64_t begin, int64_t end) {
      PlainKernels plain;
      const int64_t step = std::min(kQueryRows, sizes.tokens);
      Tensor buffers = at::empty({2, step, sizes.tokens}, qkv.options());
      for (int64_t index = begin; index < end; ++index) {
        const int64_t sample = index / heads, head = index % heads;
        Tensor local = parts[sample].select(2, head).transpose(0, 1).contiguous();  // [3, T, d]
        Tensor d_outer = outer[sample].select(1, head).contiguous();                // [T, d]
        Tensor d_local = at::zeros_like(local);
        Tensor d_keys = d_local[1], d_values = d_local[2];
        for (int64_t first = 0; first < sizes.tokens; first += step) {
          const int64_t count = std::min(step, sizes.tokens - first);
          Tensor p = buffers[0].narrow(0, 0, count), d_p = buffers[1].narrow(0, 0, count);
          Tensor q = local[0].narrow(0, first, count), d_q = d_local[0].narrow(0, first, count);
          Tensor g = d_outer.narrow(0, first, count);
          probabilities(sizes, q, local[1], biases.grid[head], biases.entries[head], first, p);
          d_values.addmm_(p.t(), g);
          at::mm_out(d_p, g, local[2].t());
          at::_softmax_backward_data_out(d_p, d_p, p, 1, qkv.scalar_type());
          d_q.addmm_(d_p, local[1], 1, sizes.scale());
          d_keys.addmm_(d_p.t(), q, 1, sizes.scale());
          AT_DISPATCH_FLOATING_TYPES(qkv.scalar_type(), "biased_attention", [&] {
            add_up<scalar_t>(sizes, d_p.const_data_ptr<scalar_t>(), first, count,
                             d_grid[index].mutable_data_ptr<scalar_t>(),
                             d_entries[index].mutable_data_ptr<scalar_t>());
          });
        }
        d_parts[sample].select(2, head).copy_(d_local.transpose(0, 1));
      }
    });
    auto over_samples = [&](const Tensor &sums) {  // [units, n] to [n, heads]
      return sums.view({sizes.batch, heads, -1}).sum(0).t();
    };
    Tensor d_table = at::cat({over_samples(d_grid).flip(0), over_samples(d_entries)}, 0);
    return {d_parts.view_as(qkv), d_table, Tensor(), Tensor(), Tensor()};
  }

 private:
  static Sizes measure(const Tensor &qkv, int64_t heads, int64_t rows, int64_t columns) {
    return {qkv.size(0), qkv.size(1), heads, qkv.size(2) / 3 / heads, rows, columns};
  }
  static Tensor split(const Sizes &sizes, const Tensor &qkv) {
    return qkv.view({sizes.batch, sizes.tokens, 3, sizes.heads, sizes.channels});
  }
};

}  // namespace

extern "C" {

char *deepmim_biased_attention(const at::Tensor *qkv, const at::Tensor *table, int64_t heads, int64_t rows,
                               int64_t columns, at::Tensor **output) {
  return guarded([&] {
    *output = new at::Tensor(
        BiasedAttention::apply(qkv->contiguous(), table->contiguous(), heads, rows, columns));
  });
}

}  // extern "C"
