// What deepmim needs of libtorch and tch does not offer: a custom autograd function that recomputes
// its forward pass (activation checkpointing) and autocast on the CPU. Every entry point is a C
// function that turns C++ exceptions into a message, so that none crosses into Rust.

#include "guarded.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/version.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace {

// The Rust closure of one checkpointed region. `call` returns null after a panic.
struct Region : torch::CustomClassHolder {
  void *data;
  at::Tensor *(*call)(void *, at::Tensor *);
  void (*drop)(void *);

  Region(void *data, at::Tensor *(*call)(void *, at::Tensor *), void (*drop)(void *))
      : data(data), call(call), drop(drop) {}
  ~Region() override { drop(data); }

  at::Tensor run(const at::Tensor &input) const {
    at::Tensor *result = call(data, new at::Tensor(input));
    if (result == nullptr) {
      throw std::runtime_error("the checkpointed part of the model panicked");
    }
    at::Tensor output = *result;
    delete result;
    return output;
  }
};

// The recomputation must see the autocast state of the first pass; the engine's thread has its own.
struct AutocastState {
  bool enabled;
  at::ScalarType dtype;
  c10::DeviceType device;

  explicit AutocastState(c10::DeviceType device)
      : enabled(at::autocast::is_autocast_enabled(device)),
        dtype(at::autocast::get_autocast_dtype(device)),
        device(device) {}
  void apply() const {
    at::autocast::set_autocast_enabled(device, enabled);
    at::autocast::set_autocast_dtype(device, dtype);
  }
};

struct Checkpoint : torch::autograd::Function<Checkpoint> {
  // `anchor` requires a gradient and is otherwise unused: it makes the output require one too when
  // only the region's parameters do, not its input.
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &input,
                            const at::Tensor &anchor, c10::intrusive_ptr<Region> region) {
    (void)anchor;
    AutocastState autocast(input.device().type());
    context->save_for_backward({input});
    context->saved_data["region"] = c10::IValue::make_capsule(region);
    context->saved_data["autocast"] = autocast.enabled;
    context->saved_data["autocast_dtype"] = static_cast<int64_t>(autocast.dtype);
    at::NoGradGuard no_grad;
    return region->run(input);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    at::Tensor input = context->get_saved_variables()[0];
    auto region = c10::static_intrusive_pointer_cast<Region>(context->saved_data["region"].toCapsule());
    at::Tensor leaf = input.detach();
    leaf.requires_grad_(input.requires_grad());

    AutocastState outside(input.device().type());
    AutocastState inside = outside;
    inside.enabled = context->saved_data["autocast"].toBool();
    inside.dtype = static_cast<at::ScalarType>(context->saved_data["autocast_dtype"].toInt());
    at::Tensor output;
    {
      at::AutoGradMode with_grad(true);
      inside.apply();
      output = region->run(leaf);
      outside.apply();
    }
    if (output.requires_grad()) {
      torch::autograd::backward({output}, {gradients[0]});
    }
    return {leaf.grad(), at::Tensor(), at::Tensor()};
  }
};

std::vector<at::Tensor> list(at::Tensor *const *tensors, size_t count) {
  std::vector<at::Tensor> result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    result.push_back(*tensors[i]);
  }
  return result;
}

}  // namespace

extern "C" {

void deepmim_free_message(char *message) { free(message); }

// Takes ownership of `data` whether it succeeds or not. `*output` is a new tensor.
char *deepmim_checkpoint(at::Tensor *input, void *data, at::Tensor *(*call)(void *, at::Tensor *),
                         void (*drop)(void *), at::Tensor **output) {
  return guarded([&] {
    auto region = c10::make_intrusive<Region>(data, call, drop);
    at::Tensor anchor = at::empty({0}, input->options().dtype(at::kFloat)).requires_grad_(true);
    *output = new at::Tensor(Checkpoint::apply(*input, anchor, region));
  });
}

// Device: 0 CPU, 1 CUDA. Returns the state before in `was_enabled` and `was_dtype`.
char *deepmim_autocast(int device, bool enabled, int8_t dtype, bool *was_enabled, int8_t *was_dtype) {
  return guarded([&] {
    auto type = device == 0 ? at::kCPU : at::kCUDA;
    *was_enabled = at::autocast::is_autocast_enabled(type);
    *was_dtype = static_cast<int8_t>(at::autocast::get_autocast_dtype(type));
    at::autocast::set_autocast_enabled(type, enabled);
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(dtype));
  });
}

void deepmim_autocast_enter() { at::autocast::increment_nesting(); }

// Casted copies of weights are cached for the length of the outermost region.
void deepmim_autocast_leave() {
  if (at::autocast::decrement_nesting() == 0) {
    at::autocast::clear_cache();
  }
}

// All parameters are at update number `step`; the kernel only reads it, so they share one tensor.
char *deepmim_fused_adamw(at::Tensor *const *parameters, at::Tensor *const *gradients,
                          at::Tensor *const *exp_avg, at::Tensor *const *exp_avg_sq, size_t count,
                          double lr, double beta1, double beta2, double eps, double weight_decay,
                          int64_t step) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto weights = list(parameters, count);
    if (weights.empty()) {
      return;
    }
    auto grads = list(gradients, count);
    for (size_t i = 0; i < count; ++i) {
      // The kernel walks memory in order: a transposed gradient would go to the wrong numbers.
      if (grads[i].strides() != weights[i].strides()) {
        grads[i] = at::empty_like(weights[i]).copy_(grads[i]);
      }
    }
    auto count_of_updates =
        at::full({}, static_cast<double>(step), weights[0].options().dtype(at::kFloat));
    std::vector<at::Tensor> steps(count, count_of_updates);
    at::_fused_adamw_(weights, grads, list(exp_avg, count), list(exp_avg_sq, count), {}, steps, lr,
                      beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}

char *deepmim_foreach_norm(at::Tensor *const *tensors, size_t count, at::Tensor **output) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto norms = at::_foreach_norm(list(tensors, count), 2);
    *output = new at::Tensor(at::linalg_vector_norm(at::stack(norms)));
  });
}

char *deepmim_foreach_scale(at::Tensor *const *tensors, size_t count, double factor) {
  return guarded([&] {
    if (count > 0) {
      at::NoGradGuard no_grad;
      at::_foreach_mul_(list(tensors, count), factor);
    }
  });
}

char *deepmim_foreach_lerp(at::Tensor *const *targets, at::Tensor *const *sources, size_t count,
                           double weight) {
  return guarded([&] {
    if (count > 0) {
      at::NoGradGuard no_grad;
      at::_foreach_lerp_(list(targets, count), list(sources, count), weight);
    }
  });
}

// Through the guard that CUDA registers, so that this compiles without its headers.
char *deepmim_set_cuda_device(int8_t index) {
  return guarded([&] {
    c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).setDevice({c10::DeviceType::CUDA, index});
  });
}

// Most bytes of CUDA memory that tensors took at once.
char *deepmim_peak_cuda_memory(int8_t index, int64_t *bytes) {
  return guarded([&] {
    auto stats = at::getDeviceAllocator(c10::DeviceType::CUDA)->getDeviceStats(index);
    *bytes = stats.allocated_bytes[static_cast<size_t>(at::CachingAllocator::StatType::AGGREGATE)].peak;
  });
}

void deepmim_clear_grad(at::Tensor *tensor) { tensor->mutable_grad().reset(); }

const char *deepmim_libtorch_version() { return TORCH_VERSION; }

}  // extern "C"
