// Nothing may throw across the boundary to Rust: a fallible function returns null on success, or a message that stays
// valid until the same thread calls again.
#pragma once
#include <exception>
#include <string>

inline thread_local std::string last_error;

template <typename F>
const char* guarded(F&& f) noexcept {
  try {
    f();
    return nullptr;
  } catch (const std::exception& e) {
    try {
      last_error = e.what();
      return last_error.c_str();
    } catch (...) {
      return "out of memory while reporting an error";
    }
  } catch (...) {
    return "libtorch threw something that is not an exception";
  }
}
