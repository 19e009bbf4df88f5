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

const float* data(const Tensor& t) { return t.const_data_ptr<float>(); }
float* fill(Tensor& t) { return t.mutable_data_ptr<float>(); }

struct RmsNorm : Function<RmsNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& input, const Tensor& weight, double eps) {
    const Tensor x = input.contiguous();
    const int64_t c = weight.numel(), m = x.numel() / c;
    Tensor y = at::empty_like(x), inverse = at::empty({m}, x.options());
    gauntlet::train_kernels().rms_norm(data(x), data(weight), m, c, (float)eps, fill(y), fill(inverse));
    ctx->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &inverse = saved[2], dy = grads[0].contiguous();
    const int64_t c = weight.numel(), m = x.numel() / c;
    Tensor dx = at::empty_like(x), dweight;
    if (ctx->needs_input_grad(1)) dweight = at::empty_like(weight);
    gauntlet::train_kernels().rms_norm_backward(data(x), data(weight), data(inverse), data(dy), m, c, fill(dx),
                                                dweight.defined() ? fill(dweight) : nullptr);
    return {dx, dweight, Tensor()};
  }
};

struct SwiGlu : Function<SwiGlu> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate_in, const Tensor& up_in) {
    const Tensor gate = gate_in.contiguous(), up = up_in.contiguous();
    Tensor y = at::empty_like(gate);
    gauntlet::train_kernels().swiglu(data(gate), data(up), gate.numel(), fill(y));
    ctx->save_for_backward({gate, up});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1], dy = grads[0].contiguous();
    Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
    gauntlet::train_kernels().swiglu_backward(data(gate), data(up), data(dy), gate.numel(), fill(dgate), fill(dup));
    return {dgate, dup};
  }
};

Tensor turned(const Tensor& x, const Tensor& cos, const Tensor& sin, bool back) {
  const int64_t width = cos.size(-1), heads = x.size(-2), tokens = x.numel() / (heads * width);
  Tensor y = at::empty_like(x);
  gauntlet::train_kernels().rotate(data(x), data(cos), data(sin), tokens, cos.numel() / width, heads, width, back,
                                   fill(y));
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

const char* gauntlet_train_swiglu(const Tensor* gate, const Tensor* up, Tensor** out) {
  return guarded([&] { *out = new Tensor(SwiGlu::apply(*gate, *up)); });
}

const char* gauntlet_train_rotate(const Tensor* x, const Tensor* cos, const Tensor* sin, Tensor** out) {
  return guarded([&] { *out = new Tensor(Rotate::apply(*x, *cos, *sin)); });
}

}  // extern "C"
