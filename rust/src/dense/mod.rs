//! What an encoder layer does between its matrix products, each in one pass over memory: a bias and GELU; a bias, an addition and a
//! normalization. As single operations they read and write the same megabytes two or three times.
//!
//! Rows are independent of each other, so a row has the same bits alone and among others. Numbers are float32 or bfloat16; what is computed is
//! float32, rounded once at the end.
//!
//! All on the calling thread. torch's other threads wait for work by turning in circles, and keep the processors from those that would be
//! started here: with a second one, batches on two threads took 6 to 19 % longer.
#![allow(unsafe_code)] // a call of a function for instructions whose presence was just asked for

mod number;

pub use number::{Bfloat16, Number};

/// Sums are kept side by side, as many as two of the widest registers hold.
const LANES: usize = 32;

/// The `x` from which on `erf(x / sqrt(2))` rounds to 1.
const END: f32 = 5.55;

/// `erf(x / sqrt(2)) / x` for `x` up to [`END`], as a quotient of two polynomials in the square of `x`, from the constant up: fitted so that
/// the largest error of the error function, 1.7e-8, is least. Rounding adds 3.2e-7.
const ERF: [[f32; 6]; 2] = [
    [0.797_884_46, 0.068_216_585, 0.009_383_499, 3.425_255_4e-4, 1.270_488_7e-5, 4.488_441_3e-8],
    [1.0, 0.252_162_64, 0.028_789_148, 1.898_272_9e-3, 7.434_402_5e-5, 1.188_578_7e-6],
];

/// Of a layer normalization.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'n, T> {
    /// A factor for each column.
    pub scale: &'n [T],
    /// What is added to each column after that.
    pub shift: &'n [T],
    /// Added to the variance.
    pub epsilon: f32,
}

/// Puts `gelu(x + bias)` in the place of every `x`; rows are as long as the bias. GELU is the exact one, with the error function.
pub fn bias_gelu<T: Number>(rows: &mut [T], bias: &[T]) {
    debug_assert!(rows.len().is_multiple_of(bias.len().max(1)));
    fastest(Gelu { rows, bias });
}

/// Puts the normalized `x + bias + residual` in the place of every `x`; rows are as long as the bias.
pub fn bias_add_norm<T: Number>(rows: &mut [T], bias: &[T], residual: &[T], norm: Norm<'_, T>) {
    debug_assert!(rows.len().is_multiple_of(bias.len().max(1)) && rows.len() == residual.len());
    debug_assert!(norm.scale.len() == bias.len() && norm.shift.len() == bias.len());
    fastest(AddNorm { rows, bias, residual, norm, added: vec![0.0; bias.len()] });
}

/// Work on numbers that is compiled for several generations of processors.
trait Dense {
    /// The work, in a function that is `#[inline(always)]`. `FUSED`: the processor multiplies and adds in one instruction.
    fn run<const FUSED: bool>(self);
}

fn fastest(work: impl Dense) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("fma") {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the instructions are there.
            return unsafe { avx512(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the instructions are there.
            return unsafe { avx2(work) };
        }
    }
    work.run::<{ cfg!(target_arch = "aarch64") }>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn avx512(work: impl Dense) {
    work.run::<true>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(work: impl Dense) {
    work.run::<true>();
}

struct Gelu<'w, T> {
    rows: &'w mut [T],
    bias: &'w [T],
}

impl<T: Number> Dense for Gelu<'_, T> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for row in self.rows.chunks_exact_mut(self.bias.len().max(1)) {
            row.iter_mut().zip(self.bias).for_each(|(x, bias)| *x = T::from_f32(gelu::<FUSED>(x.to_f32() + bias.to_f32())));
        }
    }
}

#[inline(always)]
fn gelu<const FUSED: bool>(x: f32) -> f32 {
    let square = x * x;
    let [above, below] = ERF.map(|factors| factors.iter().rev().fold(0.0, |sum, factor| multiply_add::<FUSED>(sum, square, *factor)));
    // Not a number stays none: it is neither below the end nor above.
    let erf = if x.abs() > END { 1.0_f32.copysign(x) } else { x * above / below };
    0.5 * x * (1.0 + erf)
}

struct AddNorm<'w, T> {
    rows: &'w mut [T],
    bias: &'w [T],
    residual: &'w [T],
    norm: Norm<'w, T>,
    /// A row of what is to be normalized.
    added: Vec<f32>,
}

impl<T: Number> Dense for AddNorm<'_, T> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { rows, bias, residual, norm, mut added } = self;
        let width = bias.len().max(1);
        for (row, residual) in rows.chunks_exact_mut(width).zip(residual.chunks_exact(width)) {
            for (sum, ((x, bias), residual)) in added.iter_mut().zip(row.iter().zip(bias).zip(residual)) {
                *sum = x.to_f32() + bias.to_f32() + residual.to_f32();
            }
            let mean = sum(&added, |x| x) / width as f32;
            let variance = sum(&added, |x| (x - mean) * (x - mean)) / width as f32;
            let factor = 1.0 / (variance + norm.epsilon).sqrt();
            for (x, (sum, (scale, shift))) in row.iter_mut().zip(added.iter().zip(norm.scale.iter().zip(norm.shift))) {
                *x = T::from_f32(multiply_add::<FUSED>((sum - mean) * factor, scale.to_f32(), shift.to_f32()));
            }
        }
    }
}

/// The sum of what is made of each number, always in the same order.
#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += of(*x));
    }
    sums.iter().sum::<f32>() + rest.iter().map(|x| of(*x)).sum::<f32>()
}

/// In one instruction where there is one; without, the function of that name takes a hundred times as long as two.
#[inline(always)]
fn multiply_add<const FUSED: bool>(x: f32, factor: f32, addend: f32) -> f32 {
    if FUSED { x.mul_add(factor, addend) } else { x * factor + addend }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By its series, which is exact enough up to 5.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let number = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(seed).wrapping_mul(2_246_822_519) >> 8) as f32 / (1 << 24) as f32;
        (0..n as u32).map(|i| (number(i) - 0.5) * 6.0).collect()
    }

    fn assert_close(got: &[f32], expected: impl Iterator<Item = f64>, tolerance: f64) {
        for (got, expected) in got.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() <= tolerance, "{got} {expected}");
        }
    }

    #[test]
    fn gelu_is_that_of_the_error_function() {
        let bias = [0.0, 0.25, -0.5];
        let xs: Vec<f32> = (-6000..6000).map(|i| i as f32 / 1000.0).collect();
        let mut rows = xs.clone();
        bias_gelu(&mut rows, &bias);
        let expected = xs.iter().zip(bias.iter().cycle()).map(|(x, bias)| {
            let x = f64::from(x + bias);
            0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
        });
        assert_close(&rows, expected, 1e-6);
    }

    #[test]
    fn gelu_of_what_is_far_out_is_itself_or_nothing() {
        let mut rows = [1e30, f32::INFINITY, 50.0, -50.0, -1e30, f32::NAN];
        bias_gelu(&mut rows, &[0.0]);
        assert!(rows[..5] == [1e30, f32::INFINITY, 50.0, 0.0, 0.0] && rows[5].is_nan(), "{rows:?}");
    }

    #[test]
    fn norms_are_those_of_the_definition() {
        for width in [1, 5, 31, 32, 33, 384] {
            let (rows, residual) = (numbers(3 * width, 1), numbers(3 * width, 2));
            let (bias, scale, shift) = (numbers(width, 3), numbers(width, 4), numbers(width, 5));
            let mut got = rows.clone();
            bias_add_norm(&mut got, &bias, &residual, Norm { scale: &scale, shift: &shift, epsilon: 1e-5 });
            for row in 0..3 {
                let here = row * width..(row + 1) * width;
                let added = rows[here.clone()].iter().zip(&bias).zip(&residual[here.clone()]);
                let added: Vec<f64> = added.map(|((x, bias), residual)| f64::from(*x) + f64::from(*bias) + f64::from(*residual)).collect();
                let mean = added.iter().sum::<f64>() / width as f64;
                let variance = added.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                let expected = added
                    .iter()
                    .zip(&scale)
                    .zip(&shift)
                    .map(|((x, scale), shift)| (x - mean) / (variance + 1e-5).sqrt() * f64::from(*scale) + f64::from(*shift));
                assert_close(&got[here], expected, 2e-5);
            }
        }
    }

    #[test]
    fn every_generation_of_processors_gives_the_same_but_for_rounding() {
        let (rows, residual, bias) = (numbers(10 * 48, 7), numbers(10 * 48, 8), numbers(48, 9));
        let with = |compiled: &dyn Fn(Work<'_>)| {
            let [mut gelu, mut norm] = [rows.clone(), rows.clone()];
            compiled(Work::Gelu(Gelu { rows: &mut gelu, bias: &bias }));
            let settings = Norm { scale: &bias, shift: &bias, epsilon: 1e-5 };
            let added = vec![0.0; bias.len()];
            compiled(Work::AddNorm(AddNorm { rows: &mut norm, bias: &bias, residual: &residual, norm: settings, added }));
            [gelu, norm].concat()
        };
        let plain: Vec<f64> = with(&|work| work.run::<false>()).into_iter().map(f64::from).collect();
        assert_close(&with(&|work| fastest(work)), plain.iter().copied(), 1e-5);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2") {
            // SAFETY: the instructions are there.
            assert_close(&with(&|work| unsafe { avx2(work) }), plain.iter().copied(), 1e-5);
        }
    }

    enum Work<'w> {
        Gelu(Gelu<'w, f32>),
        AddNorm(AddNorm<'w, f32>),
    }

    impl Dense for Work<'_> {
        #[inline(always)]
        fn run<const FUSED: bool>(self) {
            match self {
                Self::Gelu(work) => work.run::<FUSED>(),
                Self::AddNorm(work) => work.run::<FUSED>(),
            }
        }
    }

    #[test]
    fn half_the_width_is_rounded_once() {
        let narrow = |numbers: &[f32]| numbers.iter().map(|x| Bfloat16::from_f32(*x)).collect::<Vec<_>>();
        let wide = |numbers: &[Bfloat16]| numbers.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
        let [mut rows, residual, bias] = [(99, 1), (99, 2), (33, 3)].map(|(n, seed)| narrow(&numbers(n, seed)));
        let mut expected = wide(&rows);
        bias_add_norm(&mut rows, &bias, &residual, Norm { scale: &bias, shift: &bias, epsilon: 1e-5 });
        let column = wide(&bias);
        bias_add_norm(&mut expected, &column, &wide(&residual), Norm { scale: &column, shift: &column, epsilon: 1e-5 });
        assert_eq!(rows, narrow(&expected));
        expected = wide(&rows);
        bias_gelu(&mut rows, &bias);
        bias_gelu(&mut expected, &column);
        assert_eq!(rows, narrow(&expected));
    }

    #[test]
    fn rows_have_the_same_bits_alone_and_among_others() {
        let (width, n_rows) = (77, 30);
        let (rows, residual, bias) = (numbers(n_rows * width, 1), numbers(n_rows * width, 2), numbers(width, 3));
        let both = |rows: &[f32], residual: &[f32]| {
            let mut rows = rows.to_vec();
            bias_add_norm(&mut rows, &bias, residual, Norm { scale: &bias, shift: &bias, epsilon: 1e-12 });
            bias_gelu(&mut rows, &bias);
            rows
        };
        let alone = rows.chunks(width).zip(residual.chunks(width)).flat_map(|(row, residual)| both(row, residual));
        assert!(alone.eq(both(&rows, &residual)));
    }

    #[test]
    fn nothing_is_done_with_nothing() {
        bias_gelu::<f32>(&mut [], &[]);
        bias_add_norm::<f32>(&mut [], &[1.0], &[], Norm { scale: &[1.0], shift: &[1.0], epsilon: 0.0 });
    }
}
