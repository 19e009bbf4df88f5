// The fused decoder's kernels. All activations are contiguous float32; the caller has checked every size and index.
#pragma once
#include <cstdint>

#include "activation.h"

namespace gauntlet {

// Instruction sets that there are kernels for, each with those before it: whatever the compiler takes for granted; AVX2
// with FMA; AVX-512 with VNNI; the same with products of bf16.
enum class Isa : int32_t { BASE = 0, AVX2 = 1, AVX512 = 2, AVX512_BF16 = 3 };

// How the weights of a packed linear layer are stored.
enum Precision : int32_t { F32 = 0, BF16 = 1, I8 = 2 };

// Outputs that lie together in a packed weight, and inputs that share a scale in int8.
constexpr int64_t TILE = 32;
constexpr int64_t GROUP = 64;
// Tokens in a block of the paged cache.
constexpr int64_t BLOCK = 16;

// A linear layer's weight [n, k], packed tile by tile of 32 outputs:
//   f32         [tile][k][32]
//   bf16        [tile][k / 2][32][2]
//   int8        [tile][k / 4][32][4], stored as value + 128; scales [tile][k / 64][32]
// Missing outputs of the last tile, and missing inputs of the last pair or group, are zero.
struct Packed {
  int32_t precision;
  int64_t n, k;
  void* weights;
  float* scales;
  const float* bias;  // [n] or null
};

// Some of a layer's outputs before packing: n rows of its k inputs, f32 or bf16.
struct Rows {
  const void* weight;
  int64_t n;
};

// One layer's keys [block][kv head][head_dim][16] and values [block][kv head][16][head_dim], f32 or bf16.
struct Cache {
  int32_t bf16;
  void* keys;
  void* values;
};

struct Heads {
  int64_t query, key_value, width;
};

struct Kernels {
  // Packs `count` parts, the outputs of one behind those of the other.
  void (*pack)(const Rows* parts, int64_t count, int32_t bf16, Packed* packed);
  // y [m, n] = x [m, k] W^T + bias, or added to y. With int8 weights x is rounded to int8, and with bf16 weights to
  // bf16 where the processor multiplies that; sums are float32. `scratch` takes the activations in the order they are
  // read in: 4 m k bytes, or for int8 136 m ceil(k / 64).
  void (*linear)(const Packed* packed, const float* x, int64_t m, float* y, int32_t add, void* scratch);
  void (*rms_norm)(const float* x, const float* weight, int64_t m, int64_t c, float eps, float* y);
  // y [m, i] = activation(x[:, :i]) * x[:, i:]
  void (*glu)(const float* x, int64_t m, int64_t i, Activation activation, float* y);
  // Norms (where given) and turns (where there are tables, [positions, D]) queries and keys of qkv [m, (H + 2 K) D] in
  // place, and stores keys and values at `slots` (block * 16 + place in the block).
  void (*rope_store)(float* qkv, const Heads* heads, int64_t m, const int64_t* positions, const int64_t* slots,
                     const float* cos, const float* sin, const float* q_norm, const float* k_norm, float eps,
                     const Cache* cache);
  // y [m, H D]: row i attends to the first lengths[i] tokens of the blocks tables[i * stride ..], of which it sees the
  // last `window`, or all with 0.
  void (*attend)(const float* qkv, const Heads* heads, int64_t m, const int32_t* tables, int64_t stride,
                 const int64_t* lengths, int64_t window, float scale, const Cache* cache, float* y);
};

extern const Kernels kernels_base;
#ifdef GAUNTLET_X86
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif
#ifdef GAUNTLET_AVX512_BF16
extern const Kernels kernels_avx512_bf16;
#endif

}  // namespace gauntlet
