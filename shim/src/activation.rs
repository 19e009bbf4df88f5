//! What a gated feed-forward layer makes of its gate.

use tch::Tensor;

/// An activation, numbered as in `csrc/activation.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu = 0,
    /// GELU by its formula in tanh (Hendrycks and Gimpel 2016).
    GeluTanh = 1,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Silu, Self::GeluTanh];

    /// The activation of each value of `x`, by libtorch.
    pub fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Self::Silu => x.silu(),
            Self::GeluTanh => x.gelu("tanh"),
        }
    }
}
