//! The instruction sets that the kernels are compiled for.

use crate::kernels;

/// An instruction set that there are kernels for; each has those before it. All read and write the same layouts, and
/// differ in speed and in the last bits of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Isa {
    /// What every processor of the architecture has.
    Base = 0,
    /// x86-64 with AVX2 and FMA.
    Avx2 = 1,
    /// x86-64 with AVX-512 and its products of int8 (VNNI).
    Avx512 = 2,
    /// The same with products of bf16.
    Avx512Bf16 = 3,
}

impl Isa {
    /// All of them, the narrowest first.
    pub const ALL: [Self; 4] = [Self::Base, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// That of the kernels which this thread calls: the widest that the processor has, unless [`Isa::limit`] was called.
    pub fn current() -> Self {
        Self::ALL[kernels::isa() as usize]
    }

    /// Lets this thread call no wider kernels than those for `most`, to compare them on one machine.
    pub fn limit(most: Self) {
        kernels::limit_isa(most as i32);
    }
}

/// Runs `check` with the kernels for each instruction set that this processor has.
#[cfg(test)]
pub(crate) fn on_each(check: impl Fn(Isa)) {
    for isa in Isa::ALL {
        Isa::limit(isa);
        if Isa::current() == isa {
            check(isa);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_of_one_thread_and_never_widens() {
        let widest = Isa::current();
        Isa::limit(Isa::Base);
        assert_eq!(Isa::current(), Isa::Base);
        let elsewhere = std::thread::spawn(Isa::current).join();
        assert_eq!(elsewhere.expect("the thread ran"), widest);
        Isa::limit(Isa::Avx512Bf16);
        assert_eq!(Isa::current(), widest);
    }
}
