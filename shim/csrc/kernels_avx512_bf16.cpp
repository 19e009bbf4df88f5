// The decoder's kernels for AVX-512 with VNNI and products of bf16.
#define GAUNTLET_KERNELS kernels_avx512_bf16
#include "kernels.inl"
