// The fused kernels of training passes: contiguous, in float32 or bf16, each with its backward; between load and store
// all is float32. Rows are split among OpenMP's threads in a way that does not depend on their number, so that sums come
// out the same.
#pragma once
#include <cstdint>

#include "activation.h"

namespace gauntlet {

// For activations of T: float, or uint16_t for bf16.
template <typename T>
struct TrainKernels {
  // y [m, c] = x * inverse * weight; inverse [m] = 1 / sqrt(mean(x^2) + eps) is kept for the backward.
  void (*rms_norm)(const T* x, const float* weight, int64_t m, int64_t c, float eps, T* y, float* inverse);
  // dx [m, c], and dweight [c] unless null.
  void (*rms_norm_backward)(const T* x, const float* weight, const float* inverse, const T* dy, int64_t m, int64_t c,
                            T* dx, float* dweight);
  // y [n] = activation(gate) * up
  void (*glu)(const T* gate, const T* up, int64_t n, Activation activation, T* y);
  void (*glu_backward)(const T* gate, const T* up, const T* dy, int64_t n, Activation activation, T* dgate, T* dup);
  // y = x * cos + (-x2, x1) * sin for x [tokens, heads, width]; token t takes row t mod rows of the tables
  // [rows, width]. With `back` the transpose, which is the backward.
  void (*rotate)(const T* x, const float* cos, const float* sin, int64_t tokens, int64_t rows, int64_t heads,
                 int64_t width, int32_t back, T* y);
};

// What an AdamW step is taken with: the corrections for the moments' zero start are in `rate` and `root`.
struct AdamWStep {
  float scale;  // of the gradient
  float decay;  // 1 - lr * weight_decay
  float beta1, beta2;
  float rate;  // lr / (1 - beta1^t)
  float root;  // 1 / sqrt(1 - beta2^t)
  float eps;
  uint32_t key;  // of the draws that decide what is rounded up
};

struct AllTrainKernels {
  TrainKernels<float> f32;
  TrainKernels<uint16_t> bf16;
  // Of n weights in bf16, with moments in bf16: computed in float32 and rounded stochastically.
  void (*adamw)(uint16_t* weight, const uint16_t* grad, uint16_t* exp_avg, uint16_t* exp_avg_sq, int64_t n,
                const AdamWStep* step);
};

// Those for this processor.
const AllTrainKernels& train_kernels();

extern const AllTrainKernels train_base;
#ifdef GAUNTLET_X86
extern const AllTrainKernels train_avx2;
extern const AllTrainKernels train_avx512;
#endif

}  // namespace gauntlet
