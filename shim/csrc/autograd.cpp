// The fused kernels as nodes of autograd's graph.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "guarded.h"
#include "train.h"

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

template <typename T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}
template <typename T>
T* fill(Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

// Calls `f` with the kernels for activations of the kind of `x`, and with a value of what they are stored as.
template <typename F>
void by_kind(const Tensor& x, F f) {
  const gauntlet::AllTrainKernels& kernels = gauntlet::train_kernels();
  if (x.scalar_type() == at::kBFloat16)
    f(kernels.bf16, uint16_t{});
  else
    f(kernels.f32, float{});
}

struct RmsNorm : Function<RmsNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& input, const Tensor& weight, double eps) {
    const Tensor x = input.contiguous();
    const int64_t c = weight.numel(), m = x.numel() / c;
    Tensor y = at::empty_like(x), inverse = at::empty({m}, weight.options());
    by_kind(x, [&](const auto& kernels, auto kind) {
      using T = decltype(kind);
      kernels.rms_norm(data<T>(x), data<float>(weight), m, c, (float)eps, fill<T>(y), fill<float>(inverse));
    });
    ctx->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &inverse = saved[2], dy = grads[0].contiguous();
    const int64_t c = weight.numel(), m = x.numel() / c;
    Tensor dx = at::empty_like(x), dweight;
    if (ctx->needs_input_grad(1)) dweight = at::empty_like(weight);
    by_kind(x, [&](const auto& kernels, auto kind) {
      using T = decltype(kind);
      kernels.rms_norm_backward(data<T>(x), data<float>(weight), data<float>(inverse), data<T>(dy), m, c, fill<T>(dx),
                                dweight.defined() ? fill<float>(dweight) : nullptr);
    });
    return {dx, dweight, Tensor()};
  }
};

struct Glu : Function<Glu> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate_in, const Tensor& up_in, int64_t activation) {
    const Tensor gate = gate_in.contiguous(), up = up_in.contiguous();
    Tensor y = at::empty_like(gate);
    by_kind(gate, [&](const auto& kernels, auto kind) {
      using T = decltype(kind);
      kernels.glu(data<T>(gate), data<T>(up), gate.numel(), (gauntlet::Activation)activation, fill<T>(y));
    });
    ctx->save_for_backward({gate, up});
    ctx->saved_data["activation"] = activation;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1], dy = grads[0].contiguous();
    const auto activation = (gauntlet::Activation)ctx->saved_data["activation"].toInt();
    Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
    by_kind(gate, [&](const auto& kernels, auto kind) {
      using T = decltype(kind);
      kernels.glu_backward(data<T>(gate), data<T>(up), data<T>(dy), gate.numel(), activation, fill<T>(dgate),
                           fill<T>(dup));
    });
    return {dgate, dup, Tensor()};
  }
};

Tensor turned(const Tensor& x, const Tensor& cos, const Tensor& sin, bool back) {
  const int64_t width = cos.size(-1), heads = x.size(-2), tokens = x.numel() / (heads * width);
  Tensor y = at::empty_like(x);
  by_kind(x, [&](const auto& kernels, auto kind) {
    using T = decltype(kind);
    kernels.rotate(data<T>(x), data<float>(cos), data<float>(sin), tokens, cos.numel() / width, heads, width, back,
                   fill<T>(y));
  });
  return y;
}

struct Rotate : Function<Rotate> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos_in, const Tensor& sin_in) {
    const Tensor cos = cos_in.contiguous(), sin = sin_in.contiguous();
    ctx->save_for_backward({cos, sin});
    return turned(x.contiguous(), cos, sin, false);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {turned(grads[0].contiguous(), saved[0], saved[1], true), Tensor(), Tensor()};
  }
};

}  // namespace

extern "C" {

// Each stores a new tensor at `out`, which the caller owns. The caller has checked kinds, sizes and devices.

const char* gauntlet_train_rms_norm(const Tensor* x, const Tensor* weight, double eps, Tensor** out) {
  return guarded([&] { *out = new Tensor(RmsNorm::apply(*x, *weight, eps)); });
}

const char* gauntlet_train_glu(const Tensor* gate, const Tensor* up, int32_t activation, Tensor** out) {
  return guarded([&] { *out = new Tensor(Glu::apply(*gate, *up, (int64_t)activation)); });
}

const char* gauntlet_train_rotate(const Tensor* x, const Tensor* cos, const Tensor* sin, Tensor** out) {
  return guarded([&] { *out = new Tensor(Rotate::apply(*x, *cos, *sin)); });
}

}  // extern "C"
