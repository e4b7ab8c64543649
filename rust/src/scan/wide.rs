//! The same code for more than one generation of processors.
#![allow(unsafe_code)] // a call of a function for instructions whose presence was just asked for

/// Work that newer instructions make faster: those on single bits, and those on eight numbers at once.
pub trait Wide {
    /// What it gives.
    type Output;

    /// The work, in a function that is `#[inline(always)]`, and calls none that is not where it counts: only what is part of the caller is
    /// compiled for its instructions.
    fn run(self) -> Self::Output;
}

/// Runs `work` as it was compiled for the newest instructions that the processor has.
#[inline]
pub fn wide<W: Wide>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
    {
        // SAFETY: the instructions are there.
        return unsafe { x86(work) };
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn x86<W: Wide>(work: W) -> W::Output {
    work.run()
}
