// The cross-entropy of logits that are enlarged to their labels' size first. The enlarged logits, and the
// tensors of their size that autograd would keep, are never there as a whole: a strip of rows is enlarged at
// a time, in the forward pass and again in the backward pass.

#include "guarded.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Numbers of a strip's enlarged logits: 32 MB of them, which a processor's last cache may hold.
constexpr int64_t kStripNumbers = 8 << 20;

// Some rows of small logits, with a neighbour on each side to interpolate with, and what they become.
struct Strip {
  int64_t from, count;         // rows of the small logits that are read
  int64_t skipped;             // enlarged rows that belong to the neighbour above
  int64_t label_from, labels;  // rows of the labels

  Tensor small(const Tensor &logits) const { return logits.narrow(2, from, count); }
  Tensor labels_of(const Tensor &all) const { return all.narrow(1, label_from, labels); }
};

// Calls `body` for every strip. Rows of labels over rows of logits must be a whole number for more than one.
template <typename Body>
void for_strips(const Tensor &logits, const Tensor &labels, Body body) {
  const int64_t rows = logits.size(2), height = labels.size(1), width = labels.size(2);
  if (height % rows != 0) {
    body(Strip{0, rows, 0, 0, height});
    return;
  }
  const int64_t factor = height / rows, numbers = logits.size(0) * logits.size(1) * factor * width;
  const int64_t step = std::max<int64_t>(1, kStripNumbers / std::max<int64_t>(1, numbers));
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t end = std::min(first + step, rows);
    const int64_t from = std::max<int64_t>(0, first - 1), to = std::min(end + 1, rows);
    body(Strip{from, to - from, (first - from) * factor, first * factor, (end - first) * factor});
  }
}

struct EnlargedCrossEntropy : torch::autograd::Function<EnlargedCrossEntropy> {
  static variable_list forward(AutogradContext *context, const Tensor &logits, const Tensor &labels,
                               int64_t ignored) {
    context->save_for_backward({logits, labels});
    context->saved_data["ignored"] = ignored;
    Tensor loss = at::zeros({}, logits.options().dtype(wide(logits)));
    Tensor right = at::zeros({}, labels.options());
    for_strips(logits, labels, [&](const Strip &strip) {
      Tensor own = strip.labels_of(labels), enlarged = enlarge(logits, labels, strip);
      loss += at::nll_loss2d(at::log_softmax(enlarged, 1), own, {}, at::Reduction::Sum, ignored);
      right += enlarged.argmax(1).eq(own).logical_and_(own.ne(ignored)).sum();
    });
    context->mark_non_differentiable({right});
    return {loss, right};
  }

  static variable_list backward(AutogradContext *context, variable_list outer) {
    auto saved = context->get_saved_variables();
    const Tensor &logits = saved[0], &labels = saved[1];
    const int64_t ignored = context->saved_data["ignored"].toInt();
    Tensor gradient = at::zeros_like(logits, at::MemoryFormat::Contiguous);
    for_strips(logits, labels, [&](const Strip &strip) {
      Tensor own = strip.labels_of(labels).unsqueeze(1);
      Tensor counts = own.ne(ignored);
      // Softmax less one at the label's class, nothing at ignored pixels.
      Tensor inner = at::softmax(enlarge(logits, labels, strip), 1);
      inner.scatter_add_(1, own.masked_fill(counts.logical_not(), 0), at::full_like(own, -1, inner.scalar_type()));
      inner.mul_(counts.to(inner.scalar_type()) * outer[0]);
      Tensor small = strip.small(gradient);
      Tensor whole = at::zeros({small.size(0), small.size(1), enlarged_rows(logits, labels, strip), labels.size(2)},
                               inner.options());
      whole.narrow(2, strip.skipped, strip.labels).copy_(inner);
      small += at::upsample_bilinear2d_backward(whole.to(logits.scalar_type()), whole.sizes().slice(2), small.sizes(),
                                                /*align_corners=*/false);
    });
    return {gradient, Tensor(), Tensor()};
  }

 private:
  static int64_t enlarged_rows(const Tensor &logits, const Tensor &labels, const Strip &strip) {
    return strip.count * labels.size(1) / logits.size(2);
  }
  // As the loss is under autocast.
  static at::ScalarType wide(const Tensor &logits) {
    return logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  }
  static Tensor enlarge(const Tensor &logits, const Tensor &labels, const Strip &strip) {
    const int64_t rows = enlarged_rows(logits, labels, strip);
    Tensor small = strip.small(logits);
    Tensor large = at::upsample_bilinear2d(small, {rows, labels.size(2)}, /*align_corners=*/false);
    return large.narrow(2, strip.skipped, strip.labels).to(wide(logits));
  }
};

}  // namespace

extern "C" {

char *deepmim_enlarged_cross_entropy(const at::Tensor *logits, const at::Tensor *labels, int64_t ignored,
                                     at::Tensor **loss, at::Tensor **right) {
  return guarded([&] {
    auto results = EnlargedCrossEntropy::apply(logits->contiguous(), labels->contiguous(), ignored);
    *loss = new at::Tensor(results[0]);
    *right = new at::Tensor(results[1]);
  });
}

}  // extern "C"
