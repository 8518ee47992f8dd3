// DistributedDataParallel's Reducer: gradients are summed over processes bucket by bucket while the backward
// pass still computes the others.
//
// Parameters without a gradient of the pass are handled here, not by the Reducer's walk through the graph,
// which cannot see into recomputed regions: at the end of the pass those that did not report are reported.

#include "process_group.h"

#include "guarded.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

// Of one parameter: whether its gradient is complete in this pass, and whether it had one in this step.
struct Seen {
  std::atomic<bool> in_pass{false};
  std::atomic<bool> in_step{false};
};

struct Note : torch::autograd::FunctionPostHook {
  std::shared_ptr<std::vector<Seen>> seen;
  size_t index;

  Note(std::shared_ptr<std::vector<Seen>> seen, size_t index) : seen(std::move(seen)), index(index) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list &outputs,
                                            const torch::autograd::variable_list &) override {
    (*seen)[index].in_pass = true;
    (*seen)[index].in_step = true;
    return outputs;
  }
};

// Shared by the handle and the graph that is differentiated.
struct Ddp : torch::CustomClassHolder {
  std::vector<at::Tensor> parameters;
  std::shared_ptr<std::vector<Seen>> seen;
  std::vector<std::shared_ptr<torch::autograd::Node>> accumulators;
  std::vector<uintptr_t> hooks;
  std::unique_ptr<c10d::Reducer> reducer;

  ~Ddp() override {
    for (size_t i = 0; i < hooks.size(); ++i) {
      accumulators[i]->del_post_hook(hooks[i]);
    }
  }

  void report_the_rest() {
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (!(*seen)[i].in_pass) {
        reducer->autograd_hook(i);
      }
    }
  }
};

// The identity on the loss. Its backward pass is the first of all, and arranges for the end.
struct AtTheEnd : torch::autograd::Function<AtTheEnd> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &loss,
                            c10::intrusive_ptr<Ddp> ddp) {
    context->saved_data["ddp"] = c10::IValue::make_capsule(ddp);
    return loss.view_as(loss);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    auto ddp = c10::static_intrusive_pointer_cast<Ddp>(context->saved_data["ddp"].toCapsule());
    torch::autograd::Engine::get_default_engine().queue_callback([ddp] { ddp->report_the_rest(); });
    return {gradients[0], at::Tensor()};
  }
};

}  // namespace

struct deepmim_reducer {
  c10::intrusive_ptr<Ddp> ddp;
};

extern "C" {

// The parameters must come in the same order in every process. The buckets are laid out anew after the first
// pass, in the order in which gradients become ready.
char *deepmim_reducer_new(const deepmim_group *group, at::Tensor *const *parameters, size_t count,
                          int64_t bucket_bytes, deepmim_reducer **output) {
  return guarded([&] {
    auto ddp = c10::make_intrusive<Ddp>();
    std::unordered_map<size_t, std::string> names;
    for (size_t i = 0; i < count; ++i) {
      ddp->parameters.push_back(*parameters[i]);
    }
    ddp->seen = std::make_shared<std::vector<Seen>>(count);
    int64_t first_bucket = std::min<int64_t>(c10d::kDefaultFirstBucketBytes, bucket_bytes);
    std::vector<size_t> limits{static_cast<size_t>(first_bucket), static_cast<size_t>(bucket_bytes)};
    auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(ddp->parameters, limits));
    std::reverse(buckets.begin(), buckets.end());
    ddp->reducer = std::make_unique<c10d::Reducer>(
        ddp->parameters, std::move(buckets), group->group, std::vector<bool>(count, false), bucket_bytes,
        /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/true, names, first_bucket,
        /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false, std::vector<int64_t>{});
    for (size_t i = 0; i < count; ++i) {
      auto accumulator = torch::autograd::impl::grad_accumulator(ddp->parameters[i]);
      ddp->hooks.push_back(accumulator->add_post_hook(std::make_unique<Note>(ddp->seen, i)));
      ddp->accumulators.push_back(std::move(accumulator));
    }
    *output = new deepmim_reducer{ddp};
  });
}

void deepmim_reducer_free(deepmim_reducer *reducer) { delete reducer; }

// An optimiser step begins: no parameter has a gradient yet.
void deepmim_reducer_begin(const deepmim_reducer *reducer) {
  for (auto &seen : *reducer->ddp->seen) {
    seen.in_step = false;
  }
}

// Writes 1 for each parameter that had a gradient in this process and step, else 0.
void deepmim_reducer_used(const deepmim_reducer *reducer, float *used) {
  for (auto &seen : *reducer->ddp->seen) {
    *used++ = seen.in_step ? 1.0f : 0.0f;
  }
}

// `*output` is the loss, and its backward pass leaves in every parameter's gradient the mean over processes of
// what the step's passes have accumulated. Without this call a backward pass accumulates and does not
// communicate.
char *deepmim_reducer_attach(const deepmim_reducer *reducer, const at::Tensor *loss, at::Tensor **output) {
  return guarded([&] {
    auto &ddp = reducer->ddp;
    for (auto &seen : *ddp->seen) {
      seen.in_pass = false;
    }
    ddp->reducer->rebuild_buckets();
    ddp->reducer->prepare_for_backward({});
    *output = new at::Tensor(AtTheEnd::apply(*loss, ddp));
  });
}

}  // extern "C"
