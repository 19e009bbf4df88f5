// The decoder's kernels, included by one file for each instruction set, which names the table.
#include "lanes.inl"
#include "packing.inl"
#include "products.inl"
#include "norms.inl"
#include "attention.inl"

namespace gauntlet {

extern const Kernels GAUNTLET_KERNELS = {pack, linear, rms_norm, glu, rope_store, attend};

}  // namespace gauntlet
