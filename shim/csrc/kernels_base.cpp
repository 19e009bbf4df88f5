// The kernels for whatever processor the compiler was told of.
#define GAUNTLET_KERNELS kernels_base
#include "kernels.inl"
