// The kernels for AVX-512 with VNNI; compiled with those flags and called only where the processor has them.
#define GAUNTLET_KERNELS kernels_avx512
#define GAUNTLET_TRAIN train_avx512
#include "kernels.inl"
#include "train.inl"
