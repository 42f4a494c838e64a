//! Sums and elementary functions, in vectors of the machine's own width.

use fearless_simd::{Simd, prelude::*};

/// Σ a·b, in four vectors of running sums.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let width = S::f32s::LEN;
    let [mut sum0, mut sum1, mut sum2, mut sum3] = [S::f32s::splat(simd, 0.0); 4];
    let (a4, b4) = (a.chunks_exact(4 * width), b.chunks_exact(4 * width));
    let (a1, b1) = (a4.remainder().chunks_exact(width), b4.remainder().chunks_exact(width));
    let rest = zip_sum(a1.remainder(), b1.remainder());
    for (a, b) in a4.zip(b4) {
        let load = |x: &[f32], i: usize| S::f32s::from_slice(simd, &x[i * width..][..width]);
        sum0 = load(a, 0).mul_add(load(b, 0), sum0);
        sum1 = load(a, 1).mul_add(load(b, 1), sum1);
        sum2 = load(a, 2).mul_add(load(b, 2), sum2);
        sum3 = load(a, 3).mul_add(load(b, 3), sum3);
    }
    for (a, b) in a1.zip(b1) {
        sum0 = S::f32s::from_slice(simd, a).mul_add(S::f32s::from_slice(simd, b), sum0);
    }
    ((sum0 + sum1) + (sum2 + sum3)).reduce_sum() + rest
}

#[inline(always)]
fn zip_sum(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// x ← f(x) for whole vectors, and for the rest one by one in a vector of their own.
#[inline(always)]
pub(crate) fn map<S: Simd>(simd: S, xs: &mut [f32], f: impl Fn(S::f32s) -> S::f32s) {
    let width = S::f32s::LEN;
    let mut whole = xs.chunks_exact_mut(width);
    for x in &mut whole {
        f(S::f32s::from_slice(simd, x)).store_slice(x);
    }
    for x in whole.into_remainder() {
        *x = f(S::f32s::splat(simd, *x))[0];
    }
}

/// a ← f(a, b)
#[inline(always)]
pub(crate) fn zip_map<S: Simd>(simd: S, a: &mut [f32], b: &[f32], f: impl Fn(S::f32s, S::f32s) -> S::f32s) {
    let width = S::f32s::LEN;
    let (mut whole, b) = (a.chunks_exact_mut(width), b.chunks_exact(width));
    let rest = b.remainder();
    for (a, b) in (&mut whole).zip(b) {
        f(S::f32s::from_slice(simd, a), S::f32s::from_slice(simd, b)).store_slice(a);
    }
    for (a, b) in whole.into_remainder().iter_mut().zip(rest) {
        *a = f(S::f32s::splat(simd, *a), S::f32s::splat(simd, *b))[0];
    }
}

/// The greatest of a row; the least f32 if there is none.
#[inline(always)]
pub(crate) fn highest<S: Simd>(simd: S, xs: &[f32]) -> f32 {
    let whole = xs.chunks_exact(S::f32s::LEN);
    let rest = whole.remainder().iter().copied().fold(f32::MIN, f32::max);
    let least = S::f32s::splat(simd, f32::MIN);
    whole
        .fold(
            least,
            #[inline(always)]
            |most, x| most.max(S::f32s::from_slice(simd, x)),
        )
        .reduce_max()
        .max(rest)
}

/// x ← e to x − highest, and the sum of all.
#[inline(always)]
pub(crate) fn exponentials<S: Simd>(simd: S, xs: &mut [f32], highest: f32) -> f32 {
    let width = S::f32s::LEN;
    // A row may be a vocabulary long: sums of 64 vectors first, then the sum of these.
    let mut total = S::f32s::splat(simd, 0.0);
    let mut rest = 0.0;
    for xs in xs.chunks_mut(64 * width) {
        let mut sum = S::f32s::splat(simd, 0.0);
        let mut whole = xs.chunks_exact_mut(width);
        for x in &mut whole {
            let e = exp(simd, S::f32s::from_slice(simd, x) - highest);
            e.store_slice(x);
            sum += e;
        }
        for x in whole.into_remainder() {
            *x = exp(simd, S::f32s::splat(simd, *x - highest))[0];
            rest += *x;
        }
        total += sum;
    }
    total.reduce_sum() + rest
}

/// eˣ within two units in the last place; no less than f32's least normal number, and never infinite. What is no number stays so.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2; a polynomial of degree six for eʳ (Cephes), and n goes into the exponent's bits.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Adding this puts the nearest whole number into the lowest bits.
    const WHOLE: f32 = 12_582_912.0;
    let splat = |x: f32| S::f32s::splat(simd, x);
    let asked = x;
    let x = x.min(splat(88.37)).max(splat(-87.33));
    let shifted = x.mul_add(splat(std::f32::consts::LOG2_E), splat(WHOLE));
    let n = shifted - WHOLE;
    let r = n.mul_add(splat(-0.693_359_4), x);
    let r = n.mul_add(splat(2.121_944_4e-4), r);
    let mut p = splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, splat(c));
    }
    let e = p.mul_add(r * r, r) + 1.0;
    let bits: S::u32s = shifted.bitcast();
    let power: S::f32s = ((bits << 23) + 0x3f80_0000).bitcast();
    asked.simd_eq(asked).select(e * power, asked)
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    S::f32s::splat(simd, 1.0) / (exp(simd, -x) + 1.0)
}

/// tanh x: a polynomial near zero (Cephes), and by e²ˣ elsewhere.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |x: f32| S::f32s::splat(simd, x);
    let z = x * x;
    let mut p = splat(-5.704_988_7e-3);
    for c in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        p = p.mul_add(z, splat(c));
    }
    let near = p.mul_add(z * x, x);
    let far = splat(1.0) - splat(2.0) / (exp(simd, x + x) + 1.0);
    z.simd_lt(splat(0.625 * 0.625)).select(near, far)
}

#[cfg(test)]
mod tests {
    use super::{exp, tanh};
    use fearless_simd::{Level, Simd, dispatch, prelude::*};

    /// The greatest error of a function, as a part of max(|value|, `least`), over numbers from −`end` to `end`.
    fn worst<S: Simd>(
        simd: S,
        end: f32,
        least: f64,
        f: impl Fn(S::f32s) -> S::f32s,
        want: fn(f64) -> f64,
    ) -> f64 {
        let mut worst = 0.0f64;
        for i in -200_000..=200_000 {
            let x = end * i as f32 / 200_000.0;
            let (got, want) = (f64::from(f(S::f32s::splat(simd, x))[0]), want(f64::from(x)));
            worst = worst.max((got - want).abs() / want.abs().max(least));
        }
        worst
    }

    #[test]
    fn exponentials_are_within_two_units_in_the_last_place() {
        let worst = dispatch!(Level::new(), simd => worst(simd, 87.0, 0.0, |x| exp(simd, x), f64::exp));
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
    }

    #[test]
    fn what_is_no_number_stays_so() {
        let of_nan = dispatch!(Level::new(), simd => {
            let nan = f32::NAN;
            [exp(simd, SimdBase::splat(simd, nan))[0], tanh(simd, SimdBase::splat(simd, nan))[0]]
        });
        assert!(of_nan.iter().all(|x| x.is_nan()), "{of_nan:?}");
    }

    #[test]
    fn hyperbolic_tangents_are_within_four_units_in_the_last_place() {
        let worst = dispatch!(Level::new(), simd => worst(simd, 12.0, 1e-30, |x| tanh(simd, x), f64::tanh));
        assert!(worst < 4.0 * f64::from(f32::EPSILON), "{worst:e}");
    }
}
