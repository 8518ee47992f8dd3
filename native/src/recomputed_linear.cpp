// A fully connected layer behind a cheap function, LayerNorm or GELU. Autograd would keep the function's
// argument for its own derivative and its value for the layer's; these keep the argument and compute the
// value again. Both passes call the operators that autograd would, so the numbers are the same.

#include "guarded.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <functional>
#include <optional>
#include <tuple>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Gradients of `linear(value, weight, bias)` for rows. Under autocast the layer worked in the narrower
// type that `outer` has, and so does its derivative, as autograd's would.
struct LinearGradients {
  Tensor value, weight, bias;

  LinearGradients(const Tensor &outer, const std::function<Tensor()> &value_again, const Tensor &weight_of_layer,
                  bool wants_value, bool wants_weight, bool wants_bias) {
    if (wants_value) {
      value = outer.mm(weight_of_layer.to(outer.scalar_type()));
    }
    if (wants_weight) {
      weight = outer.t().mm(value_again().to(outer.scalar_type())).to(weight_of_layer.scalar_type());
    }
    if (wants_bias) {
      bias = outer.sum(0).to(weight_of_layer.scalar_type());
    }
  }
};

// A bias that is not there is no input that could be asked about.
bool wants_bias(const AutogradContext *context, size_t index) {
  return context->saved_data.at("has_bias").toBool() && context->needs_input_grad(index);
}

struct LinearAfterGelu : torch::autograd::Function<LinearAfterGelu> {
  static Tensor forward(AutogradContext *context, const Tensor &x, const Tensor &weight,
                        const std::optional<Tensor> &bias) {
    context->save_for_backward({x, weight});
    context->saved_data["has_bias"] = bias.has_value();
    return at::linear(at::gelu(x), weight, bias);
  }

  static variable_list backward(AutogradContext *context, variable_list outer) {
    auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    auto again = [&] { return at::gelu(x); };
    LinearGradients layer(outer[0].contiguous(), again, weight, context->needs_input_grad(0),
                          context->needs_input_grad(1), wants_bias(context, 2));
    if (layer.value.defined()) {
      layer.value = at::gelu_backward(layer.value.to(x.scalar_type()), x);
    }
    return {layer.value, layer.weight, layer.bias};
  }
};

struct LinearAfterNorm : torch::autograd::Function<LinearAfterNorm> {
  static Tensor forward(AutogradContext *context, const Tensor &x, const Tensor &scale, const Tensor &shift,
                        const Tensor &weight, const std::optional<Tensor> &bias, double eps) {
    auto [value, mean, rstd] = normalise(x, scale, shift, eps);
    context->save_for_backward({x, scale, shift, weight, mean, rstd});
    context->saved_data["eps"] = eps;
    context->saved_data["has_bias"] = bias.has_value();
    return at::linear(value, weight, bias);
  }

  static variable_list backward(AutogradContext *context, variable_list outer) {
    auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &scale = saved[1], &shift = saved[2], &weight = saved[3];
    const double eps = context->saved_data["eps"].toDouble();
    auto again = [&] { return std::get<0>(normalise(x, scale, shift, eps)); };
    const std::array<bool, 3> wanted = {context->needs_input_grad(0), context->needs_input_grad(1),
                                        context->needs_input_grad(2)};
    LinearGradients layer(outer[0].contiguous(), again, weight, wanted[0] || wanted[1] || wanted[2],
                          context->needs_input_grad(3), wants_bias(context, 4));
    Tensor d_x, d_scale, d_shift;
    if (layer.value.defined()) {
      std::tie(d_x, d_scale, d_shift) =
          at::native_layer_norm_backward(layer.value.to(scale.scalar_type()), x.to(scale.scalar_type()),
                                         scale.sizes(), saved[4], saved[5], scale, shift, wanted);
      if (d_x.defined()) {
        d_x = d_x.to(x.scalar_type());
      }
    }
    return {d_x, d_scale, d_shift, layer.weight, layer.bias, Tensor()};
  }

 private:
  // In the type of its parameters, which is what autocast does.
  static std::tuple<Tensor, Tensor, Tensor> normalise(const Tensor &x, const Tensor &scale, const Tensor &shift,
                                                      double eps) {
    return at::native_layer_norm(x.to(scale.scalar_type()), scale.sizes(), scale, shift, eps);
  }
};

std::optional<Tensor> where_given(const Tensor *tensor) {
  return tensor == nullptr ? std::nullopt : std::optional<Tensor>(*tensor);
}

}  // namespace

extern "C" {

// `bias` may be null in both.
char *deepmim_linear_after_gelu(const at::Tensor *x, const at::Tensor *weight, const at::Tensor *bias,
                                at::Tensor **output) {
  return guarded([&] { *output = new at::Tensor(LinearAfterGelu::apply(*x, *weight, where_given(bias))); });
}

char *deepmim_linear_after_norm(const at::Tensor *x, const at::Tensor *scale, const at::Tensor *shift, double eps,
                                const at::Tensor *weight, const at::Tensor *bias, at::Tensor **output) {
  return guarded([&] {
    *output = new at::Tensor(LinearAfterNorm::apply(*x, *scale, *shift, *weight, where_given(bias), eps));
  });
}

}  // extern "C"
