// The fused kernels of training passes: float32, contiguous, each with its backward. Rows are split among OpenMP's threads
// in a way that does not depend on their number, so that sums come out the same.
#pragma once
#include <cstdint>

namespace gauntlet {

struct TrainKernels {
  // y [m, c] = x * inverse * weight; inverse [m] = 1 / sqrt(mean(x^2) + eps) is kept for the backward.
  void (*rms_norm)(const float* x, const float* weight, int64_t m, int64_t c, float eps, float* y, float* inverse);
  // dx [m, c], and dweight [c] unless null.
  void (*rms_norm_backward)(const float* x, const float* weight, const float* inverse, const float* dy, int64_t m,
                            int64_t c, float* dx, float* dweight);
  // y [n] = silu(gate) * up
  void (*swiglu)(const float* gate, const float* up, int64_t n, float* y);
  void (*swiglu_backward)(const float* gate, const float* up, const float* dy, int64_t n, float* dgate, float* dup);
  // y = x * cos + (-x2, x1) * sin for x [tokens, heads, width]; token t takes row t mod rows of the tables
  // [rows, width]. With `back` the transpose, which is the backward.
  void (*rotate)(const float* x, const float* cos, const float* sin, int64_t tokens, int64_t rows, int64_t heads,
                 int64_t width, int32_t back, float* y);
};

// Those for this processor.
const TrainKernels& train_kernels();

extern const TrainKernels train_base;
#ifdef GAUNTLET_AVX512
extern const TrainKernels train_avx512;
#endif

}  // namespace gauntlet
