//! Float32, and the half of it that is bfloat16.

use bytemuck::{Pod, Zeroable};

/// How numbers are kept.
pub trait Number: Copy {
    /// What is computed with.
    fn to_f32(self) -> f32;

    /// The nearest number.
    fn from_f32(x: f32) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }
}

/// The upper half of a float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bfloat16(u16);

impl Number for Bfloat16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// To even, where two are as near.
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
        // Rounding up could make infinity of what is not a number.
        Self(if x.is_nan() { bits >> 16 | 0x40 } else { rounded } as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_half_the_width_are_the_nearest() {
        let bits = |x: f32| Bfloat16::from_f32(x).0;
        assert_eq!([1.0, -2.5, 0.0].map(bits), [0x3F80, 0xC020, 0]);
        let between = |low: u32, more: u32| bits(f32::from_bits(low << 16 | more));
        assert_eq!((between(0x3F80, 0x8000), between(0x3F81, 0x8000), between(0x3F80, 0x8001)), (0x3F80, 0x3F82, 0x3F81), "to even");
        assert_eq!([f32::MAX, f32::INFINITY, f32::NEG_INFINITY].map(bits), [0x7F80, 0x7F80, 0xFF80]);
        let none = [f32::NAN, f32::from_bits(0x7F80_0001), f32::from_bits(0xFFFF_FFFF)];
        assert!(none.map(|x| Bfloat16::from_f32(x).to_f32()).iter().all(|x| x.is_nan()));
        for low in (0..=u16::MAX).filter(|&low| !Bfloat16(low).to_f32().is_nan()) {
            assert_eq!(bits(Bfloat16(low).to_f32()), low);
        }
    }
}
