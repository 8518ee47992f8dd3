// What process_group.cpp, nccl.cpp and reducer.cpp share.

#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>

// Handles that Rust holds.
struct deepmim_store {
  c10::intrusive_ptr<c10d::Store> store;
};
struct deepmim_group {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
};

// NCCL's half of a group, on the present CUDA device; throws where this program was built without it.
c10::intrusive_ptr<c10d::Backend> deepmim_nccl_backend(const c10::intrusive_ptr<c10d::Store> &store, int rank,
                                                       int size, std::chrono::milliseconds timeout);
