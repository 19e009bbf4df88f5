// The kernels for AVX2 with FMA; compiled with those flags and called only where the processor has them.
#define GAUNTLET_KERNELS kernels_avx2
#define GAUNTLET_TRAIN train_avx2
#include "kernels.inl"
#include "train.inl"
