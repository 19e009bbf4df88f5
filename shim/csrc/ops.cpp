// libtorch calls that tch does not bind.
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw_ops.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "guarded.h"

namespace {

std::vector<at::Tensor> list(size_t n, const at::Tensor* const* tensors) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; i++) out.push_back(*tensors[i]);
  return out;
}

}  // namespace

extern "C" {

// The kernel reads raw data pointers for params[i].numel() elements and checks nothing; the caller has checked kinds,
// sizes, devices and contiguity.
const char* gauntlet_fused_adamw(size_t n, const at::Tensor* const* params, const at::Tensor* const* grads,
                                 const at::Tensor* const* exp_avg, const at::Tensor* const* exp_avg_sq,
                                 const at::Tensor* const* steps, double lr, double beta1, double beta2,
                                 double weight_decay, double eps) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto state_steps = list(n, steps);
    // The bias correction divides by 1 - beta^step, so the count must already include this step.
    for (auto& step : state_steps) step.add_(1);
    at::_ops::_fused_adamw_::call(list(n, params), list(n, grads), list(n, exp_avg), list(n, exp_avg_sq), {},
                                  state_steps, lr, beta1, beta2, weight_decay, eps, /*amsgrad=*/false,
                                  /*maximize=*/false, /*grad_scale=*/std::nullopt, /*found_inf=*/std::nullopt);
  });
}

// A tensor of bytes over memory that is given up by `release(owner)` when the last tensor that sees it is gone. After
// an error it may have been given up or not.
const char* gauntlet_tensor_over(void* data, int64_t length, void* owner, void (*release)(void*), at::Tensor** out) {
  *out = nullptr;
  return guarded([&] {
    auto bytes = at::TensorOptions().dtype(at::kByte);
    auto tensor = std::make_unique<at::Tensor>();
    *tensor = at::from_blob(data, {length}, [=](void*) { release(owner); }, bytes);
    *out = tensor.release();
  });
}

// Null if the guard could not be made. The guard must be dropped on the thread that made it, last made first.
c10::InferenceMode* gauntlet_inference_mode_enter(int32_t on) {
  c10::InferenceMode* guard = nullptr;
  guarded([&] { guard = new c10::InferenceMode(on != 0); });
  return guard;
}

void gauntlet_inference_mode_exit(c10::InferenceMode* guard) { delete guard; }

}  // extern "C"
