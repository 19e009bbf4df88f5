// The kernels for whatever processor the compiler was told of.
#define GAUNTLET_KERNELS kernels_base
#define GAUNTLET_TRAIN train_base
#include "kernels.inl"
#include "train.inl"
