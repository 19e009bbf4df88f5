// What a gated feed-forward layer makes of its gate.
#pragma once
#include <cstdint>

namespace gauntlet {

enum Activation : int32_t { SILU = 0, GELU_TANH = 1 };

}  // namespace gauntlet
