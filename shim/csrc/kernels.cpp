// Chooses the kernels for this processor, and gives them C names.
#include "kernels.h"
#include "train.h"

namespace {

using gauntlet::Isa;

// The widest that this processor has and the compiler knew.
Isa detect() {
#ifdef GAUNTLET_X86
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::BASE;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq") ||
      !__builtin_cpu_supports("avx512vnni"))
    return Isa::AVX2;
#ifdef GAUNTLET_AVX512_BF16
  if (__builtin_cpu_supports("avx512bf16")) return Isa::AVX512_BF16;
#endif
  return Isa::AVX512;
#else
  return Isa::BASE;
#endif
}

// What this thread uses.
Isa& chosen() {
  static const Isa widest = detect();
  static thread_local Isa isa = widest;
  return isa;
}

const gauntlet::Kernels& kernels() {
  switch (chosen()) {
#ifdef GAUNTLET_AVX512_BF16
    case Isa::AVX512_BF16: return gauntlet::kernels_avx512_bf16;
#endif
#ifdef GAUNTLET_X86
    case Isa::AVX512: return gauntlet::kernels_avx512;
    case Isa::AVX2: return gauntlet::kernels_avx2;
#endif
    default: return gauntlet::kernels_base;
  }
}

}  // namespace

extern "C" {

int32_t gauntlet_isa(void) { return (int32_t)chosen(); }

void gauntlet_limit_isa(int32_t most) {
  const Isa widest = detect();
  chosen() = (Isa)most < widest ? (Isa)most : widest;
}

void gauntlet_pack(const gauntlet::Rows* parts, int64_t count, int32_t bf16, gauntlet::Packed* packed) {
  kernels().pack(parts, count, bf16, packed);
}

void gauntlet_linear(const gauntlet::Packed* packed, const float* x, int64_t m, float* y, int32_t add, void* scratch) {
  kernels().linear(packed, x, m, y, add, scratch);
}

void gauntlet_rms_norm(const float* x, const float* weight, int64_t m, int64_t c, float eps, float* y) {
  kernels().rms_norm(x, weight, m, c, eps, y);
}

void gauntlet_glu(const float* x, int64_t m, int64_t width, int32_t activation, float* y) {
  kernels().glu(x, m, width, (gauntlet::Activation)activation, y);
}

void gauntlet_rope_store(float* qkv, const gauntlet::Heads* heads, int64_t m, const int64_t* positions,
                         const int64_t* slots, const float* cos, const float* sin, const float* q_norm,
                         const float* k_norm, float eps, const gauntlet::Cache* cache) {
  kernels().rope_store(qkv, heads, m, positions, slots, cos, sin, q_norm, k_norm, eps, cache);
}

void gauntlet_attend(const float* qkv, const gauntlet::Heads* heads, int64_t m, const int32_t* tables, int64_t stride,
                     const int64_t* lengths, int64_t window, float scale, const gauntlet::Cache* cache, float* y) {
  kernels().attend(qkv, heads, m, tables, stride, lengths, window, scale, cache, y);
}

void gauntlet_adamw_bf16(uint16_t* weight, const uint16_t* grad, uint16_t* exp_avg, uint16_t* exp_avg_sq, int64_t n,
                         const gauntlet::AdamWStep* step) {
  gauntlet::train_kernels().adamw(weight, grad, exp_avg, exp_avg_sq, n, step);
}

}  // extern "C"

namespace gauntlet {

const AllTrainKernels& train_kernels() {
  switch (chosen()) {
#ifdef GAUNTLET_X86
    case Isa::AVX512_BF16:
    case Isa::AVX512: return train_avx512;
    case Isa::AVX2: return train_avx2;
#endif
    default: return train_base;
  }
}

}  // namespace gauntlet
