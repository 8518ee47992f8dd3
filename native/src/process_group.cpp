// Stores, process groups and collectives of PyTorch's c10d, as torch.distributed makes them.

#include "process_group.h"

#include "guarded.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <c10/util/Logging.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>


namespace {

void all_reduce(const c10::intrusive_ptr<c10d::ProcessGroup> &group, at::Tensor tensor,
                c10d::ReduceOp::RedOpType operation) {
  std::vector<at::Tensor> tensors{std::move(tensor)};
  c10d::AllreduceOptions options;
  options.reduceOp = operation;
  group->allreduce(tensors, options)->wait();
}

// The interfaces named in GLOO_SOCKET_IFNAME, as torch.distributed takes them, or the one with `address`.
std::vector<std::shared_ptr<gloo::transport::Device>> gloo_devices(const char *address) {
  std::vector<std::shared_ptr<gloo::transport::Device>> devices;
  const char *names = getenv("GLOO_SOCKET_IFNAME");
  std::stringstream list(names == nullptr ? "" : names);
  for (std::string name; std::getline(list, name, ',');) {
    devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(name));
  }
  if (devices.empty()) {
    devices.push_back(address == nullptr ? c10d::ProcessGroupGloo::createDefaultDevice()
                                         : c10d::ProcessGroupGloo::createDeviceForHostname(address));
  }
  return devices;
}

// The gradient of a sum over processes, of which every process uses the result, is the sum of the processes'
// gradients.
struct SumOverRanks : torch::autograd::Function<SumOverRanks> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &input,
                            c10::intrusive_ptr<c10d::ProcessGroup> group) {
    context->saved_data["group"] = c10::IValue::make_capsule(group);
    at::Tensor sum = input.contiguous().clone();
    all_reduce(group, sum, c10d::ReduceOp::SUM);
    return sum;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    auto group =
        c10::static_intrusive_pointer_cast<c10d::ProcessGroup>(context->saved_data["group"].toCapsule());
    at::Tensor sum = gradients[0].contiguous().clone();
    all_reduce(group, sum, c10d::ReduceOp::SUM);
    return {sum, at::Tensor()};
  }
};

}  // namespace

extern "C" {

// A client of the store at `host`:`port`, or with `serve` the store itself.
char *deepmim_store_open(const char *host, uint16_t port, bool serve, int64_t timeout_ms,
                         deepmim_store **output) {
  return guarded([&] {
    // c10d writes stack traces to stderr beside its exceptions, which say enough.
    if (getenv("TORCH_CPP_LOG_LEVEL") == nullptr) {
      FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    }
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    *output = new deepmim_store{c10::make_intrusive<c10d::TCPStore>(std::string(host), options)};
  });
}

// Another view of a store, with a prefix before every key.
char *deepmim_store_prefixed(const deepmim_store *store, const char *prefix, deepmim_store **output) {
  return guarded([&] {
    *output = new deepmim_store{c10::make_intrusive<c10d::PrefixStore>(std::string(prefix), store->store)};
  });
}

void deepmim_store_free(deepmim_store *store) { delete store; }

char *deepmim_store_set(const deepmim_store *store, const char *key, const uint8_t *data, size_t count) {
  return guarded([&] { store->store->set(key, std::vector<uint8_t>(data, data + count)); });
}

// Waits at most `timeout_ms` for a key. `*output` is to be freed with deepmim_free_message.
char *deepmim_store_get(const deepmim_store *store, const char *key, int64_t timeout_ms, char **output) {
  return guarded([&] {
    store->store->wait({key}, std::chrono::milliseconds(timeout_ms));
    auto value = store->store->get(key);
    *output = strndup(reinterpret_cast<const char *>(value.data()), value.size());
  });
}

// A group of `size` processes that meet at `store`: Gloo for tensors in host memory or, with `nccl`, NCCL for
// those on the present CUDA device. `address` is where the others reach this process; null leaves it to Gloo.
char *deepmim_group_new(const deepmim_store *store, int rank, int size, bool nccl, const char *address,
                        int64_t timeout_ms, deepmim_group **output) {
  return guarded([&] {
    using Group = c10d::ProcessGroup;
    std::chrono::milliseconds timeout(timeout_ms);
    auto group = c10::make_intrusive<Group>(store->store, rank, size);
    if (nccl) {
      auto at = c10::make_intrusive<c10d::PrefixStore>("nccl", store->store);
      group->setBackend(c10::DeviceType::CUDA, Group::BackendType::NCCL,
                        deepmim_nccl_backend(at, rank, size, timeout));
      group->setDefaultBackend(Group::BackendType::NCCL);
    } else {
      auto at = c10::make_intrusive<c10d::PrefixStore>("gloo", store->store);
      auto options = c10d::ProcessGroupGloo::Options::create(timeout);
      options->devices = gloo_devices(address);
      c10::intrusive_ptr<c10d::Backend> gloo =
          c10::make_intrusive<c10d::ProcessGroupGloo>(at, rank, size, options);
      group->setBackend(c10::DeviceType::CPU, Group::BackendType::GLOO, gloo);
      group->setDefaultBackend(Group::BackendType::GLOO);
    }
    *output = new deepmim_group{group};
  });
}

void deepmim_group_free(deepmim_group *group) { delete group; }

char *deepmim_group_sum(const deepmim_group *group, const at::Tensor *tensor) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    all_reduce(group->group, *tensor, c10d::ReduceOp::SUM);
  });
}

char *deepmim_group_broadcast(const deepmim_group *group, const at::Tensor *tensor, int64_t root) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> tensors{*tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    group->group->broadcast(tensors, options)->wait();
  });
}

// The tensors of all processes, of one shape, stacked in the order of ranks.
char *deepmim_group_all_gather(const deepmim_group *group, const at::Tensor *tensor, at::Tensor **output) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> inputs{tensor->contiguous()};
    std::vector<std::vector<at::Tensor>> outputs(1);
    for (int rank = 0; rank < group->group->getSize(); ++rank) {
      outputs[0].push_back(at::empty_like(inputs[0]));
    }
    group->group->allgather(outputs, inputs)->wait();
    *output = new at::Tensor(at::stack(outputs[0]));
  });
}

char *deepmim_group_differentiable_sum(const deepmim_group *group, const at::Tensor *tensor,
                                       at::Tensor **output) {
  return guarded([&] { *output = new at::Tensor(SumOverRanks::apply(*tensor, group->group)); });
}

}  // extern "C"
