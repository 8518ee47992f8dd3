// How every entry point answers: null, or a message to be freed with deepmim_free_message. No C++
// exception crosses into Rust.

#pragma once

#include <cstring>
#include <exception>

template <typename Body>
char *guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}
