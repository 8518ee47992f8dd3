// PyTorch's NCCL backend. Compiled in where libtorch has a CUDA half and NVIDIA's headers are found; build.rs
// says which with DEEPMIM_NCCL.

#include "process_group.h"

#include <stdexcept>

#ifdef DEEPMIM_NCCL

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

c10::intrusive_ptr<c10d::Backend> deepmim_nccl_backend(const c10::intrusive_ptr<c10d::Store> &store, int rank,
                                                       int size, std::chrono::milliseconds timeout) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
}

#else

c10::intrusive_ptr<c10d::Backend> deepmim_nccl_backend(const c10::intrusive_ptr<c10d::Store> &, int, int,
                                                       std::chrono::milliseconds) {
  throw std::runtime_error(
      "this program was built without NCCL: build it where PyTorch has CUDA and its nvidia-nccl, "
      "nvidia-cuda-crt and nvidia-cuda-cccl packages are installed (scripts/setup.sh does that on a machine "
      "with an NVIDIA driver)");
}

#endif
