//! Orthonormal frames and the reflections they are made of (Householder 1958), in f64, once per intervention.

use crate::kernel::OrthogonalMap;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

/// A fixed orthogonal matrix B [D, D].
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// B = G₀ … G_{M−1}·diag(signs), G_k = I − 2·u_k·u_kᵀ.
    ///
    /// pyreft keeps B whole, D × D. Only its first columns matter at the start, so M = R reflections and 2·R·D numbers do.
    Reflections {
        /// The unit vectors u_k [M, D].
        units: Vec<f32>,
        /// The signs `[D]`.
        signs: Vec<f32>,
    },
    /// Bᵀ [D, D], for a square rotation.
    Whole(Vec<f32>),
}

impl Base {
    /// The base whose first columns are the given orthonormal rows [M, D].
    ///
    /// # Panics
    /// If there are no rows, or more than D.
    pub fn of_rows(rows: &[f64], n_embd: usize) -> Base {
        let mut columns: Vec<Vec<f64>> = rows.chunks_exact(n_embd).map(<[f64]>::to_vec).collect();
        assert!((1..=n_embd).contains(&columns.len()), "{} rows of {n_embd}", columns.len());
        let mut units = Vec::with_capacity(rows.len());
        let mut signs = vec![1.0; n_embd];
        for k in 0..columns.len() {
            let unit = reflector(&columns[k], k);
            columns[k..].iter_mut().for_each(|column| reflect(column, &unit));
            signs[k] = columns[k][k].signum() as f32;
            units.extend(unit.iter().map(|u| *u as f32));
        }
        Base::Reflections { units, signs }
    }

    /// Column `j` of B, D numbers.
    pub(super) fn column(&self, j: usize) -> Vec<f64> {
        match self {
            Base::Reflections { units, signs } => {
                let mut column = vec![0.0; signs.len()];
                column[j] = f64::from(signs[j]);
                for unit in units.chunks_exact(signs.len()).rev() {
                    let unit: Vec<f64> = unit.iter().map(|u| f64::from(*u)).collect();
                    reflect(&mut column, &unit);
                }
                column
            }
            Base::Whole(rows) => {
                let n_embd = rows.len().isqrt();
                rows[j * n_embd..][..n_embd].iter().map(|b| f64::from(*b)).collect()
            }
        }
    }

    /// Its numbers in the order in which kernels read them, and how R follows from it.
    pub(super) fn numbers(&self) -> (Vec<f32>, OrthogonalMap) {
        match self {
            Base::Reflections { units, signs } => {
                let n_reflections = units.len() / signs.len();
                ([units.as_slice(), signs].concat(), OrthogonalMap::Householder { n_reflections })
            }
            Base::Whole(rows) => (rows.clone(), OrthogonalMap::MatrixExp),
        }
    }

    /// Whether it is one for rotations of this width: whole for square ones.
    pub(super) fn fits(&self, n_embd: usize, is_square: bool) -> bool {
        match self {
            Base::Reflections { units, signs } => {
                !is_square && signs.len() == n_embd && units.len().is_multiple_of(n_embd)
            }
            Base::Whole(rows) => is_square && rows.len() == n_embd * n_embd,
        }
    }
}

/// The unit vector whose reflection turns `column` from element k on into ± its norm at element k.
fn reflector(column: &[f64], k: usize) -> Vec<f64> {
    let mut v = column.to_vec();
    v[..k].fill(0.0);
    let norm = dot(&v, &v).sqrt();
    v[k] += if v[k] < 0.0 { -norm } else { norm };
    let length = dot(&v, &v).sqrt();
    v.iter_mut().for_each(|v| *v /= length);
    v
}

fn reflect(y: &mut [f64], unit: &[f64]) {
    let pull = 2.0 * dot(unit, y);
    y.iter_mut().zip(unit).for_each(|(y, u)| *y -= pull * u);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Orthonormal rows [rank, n_embd], uniform over all frames: Gram–Schmidt, twice, of normal draws.
pub(super) fn random_rows(rank: usize, n_embd: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut rows: Vec<f64> = Vec::with_capacity(rank * n_embd);
    for _ in 0..rank {
        let mut row: Vec<f64> = (0..n_embd).map(|_| normal(random)).collect();
        for _ in 0..2 {
            for before in rows.chunks_exact(n_embd) {
                let along = dot(before, &row);
                row.iter_mut().zip(before).for_each(|(x, b)| *x -= along * b);
            }
        }
        let norm = dot(&row, &row).sqrt();
        rows.extend(row.iter().map(|x| x / norm));
    }
    rows
}

/// A real in (0, 1).
pub(super) fn uniform(random: &mut ChaCha8Rng) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// A normal draw (Box and Muller 1958).
pub(super) fn normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * uniform(random).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(random)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn the_first_columns_of_a_base_are_the_rows_it_was_made_of() {
        for (rank, n_embd) in [(1, 1), (1, 4), (3, 8), (8, 8), (4, 65)] {
            let rows = random_rows(rank, n_embd, &mut ChaCha8Rng::seed_from_u64(7));
            let base = Base::of_rows(&rows, n_embd);
            for (j, row) in rows.chunks_exact(n_embd).enumerate() {
                let column = base.column(j);
                let worst = column.iter().zip(row).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-6, "rank {rank}, width {n_embd}, column {j}: off by {worst}");
            }
        }
    }
}
