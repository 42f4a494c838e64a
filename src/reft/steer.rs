//! Steering vectors from contrast pairs: directions in which hidden states of one side differ from those of the other.

use super::foreign::{Interventions, values_of};
use super::{Intervention, Params, Reft, ReftConfig};
use crate::error::{Error, Result};

/// How a direction follows from the differences between hidden states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SteerMethod {
    /// The mean of the differences: contrastive activation addition (Rimsky et al. 2024, arXiv:2312.06681), AxBench's `DiffMean`.
    #[default]
    Mean,
    /// The first principal component of the differences, of length 1, on the side where most of them point: representation engineering
    /// (Zou et al. 2023, arXiv:2310.01405), repeng's `pca_center`.
    Pca,
}

impl SteerMethod {
    /// Every method.
    pub const ALL: [SteerMethod; 2] = [SteerMethod::Mean, SteerMethod::Pca];

    /// The name in options.
    pub fn name(self) -> &'static str {
        ["mean", "pca"][self as usize]
    }

    /// The method of this name.
    ///
    /// # Errors
    /// `Input` for another name.
    pub fn named(name: &str) -> Result<SteerMethod> {
        let known = SteerMethod::ALL.into_iter().find(|method| method.name() == name);
        known.ok_or_else(|| Error::not_known("method", name, SteerMethod::ALL.map(SteerMethod::name)))
    }

    /// The direction `[D]` of differences [N, D].
    ///
    /// # Errors
    /// `Input` if all of them are 0.
    pub fn direction(self, differences: &[Vec<f32>]) -> Result<Vec<f32>> {
        let direction = match self {
            SteerMethod::Mean => mean(differences),
            SteerMethod::Pca => first_component(differences),
        };
        match direction.iter().any(|x| *x != 0.0) {
            true => Ok(direction.into_iter().map(|x| x as f32).collect()),
            false => Err(Error::input(
                "both sides of all pairs have the same hidden states: expected pairs that differ",
            )),
        }
    }
}

impl Interventions {
    /// Steering vectors, one for each layer and component of a configuration, in its order.
    pub(crate) fn steering(config: ReftConfig, directions: Vec<Vec<f32>>) -> Interventions {
        let params = |projection| Params { projection, bias: vec![1.0], ..Params::default() };
        let params = directions.into_iter().map(params).collect();
        Interventions { configs: vec![config], params, ..Interventions::default() }
    }
}

impl Reft {
    /// The direction `[D]` that each intervention adds, where that is all that it does.
    ///
    /// # Errors
    /// `Unsupported` for other kinds, `Device` if the parameters cannot be read.
    pub async fn directions(&self) -> Result<Vec<Vec<f32>>> {
        if let Some(it) = self.interventions.iter().find(|it| it.kind.name != "steering_vector") {
            let name = it.kind.name;
            return Err(Error::unsupported(format!(
                "{name} is no steering vector: expected only steering_vector"
            )));
        }
        let values = self.values().await?;
        let direction = |it: &Intervention| {
            let Params { projection, bias, .. } = values_of(self, it, &values);
            projection.iter().map(|x| it.scale * bias[0] * x).collect()
        };
        Ok(self.interventions.iter().map(direction).collect())
    }
}

fn mean(rows: &[Vec<f32>]) -> Vec<f64> {
    let mut sums = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sums.iter().map(|sum| sum / rows.len() as f64).collect()
}

/// Steps of the power iteration at most.
const STEPS: usize = 10_000;

/// The eigenvector of Σ d·dᵀ with the highest eigenvalue. It is Σ cᵢ·dᵢ, where c is that of the Gram matrix, which power iteration finds.
fn first_component(rows: &[Vec<f32>]) -> Vec<f64> {
    let gram: Vec<Vec<f64>> = rows.iter().map(|a| rows.iter().map(|b| dot(a, b)).collect()).collect();
    // No eigenvector is orthogonal to such a start but by chance.
    let mut weights: Vec<f64> = (0..rows.len()).map(|i| 1.0 + (i as f64 * 0.618_034).fract() / 8.0).collect();
    for _ in 0..STEPS {
        let mut next: Vec<f64> =
            gram.iter().map(|row| row.iter().zip(&weights).map(|(g, w)| g * w).sum()).collect();
        if !normalize(&mut next) {
            break;
        }
        let moved = next.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        weights = next;
        if moved < 1e-12 {
            break;
        }
    }
    let mut component = vec![0.0; rows[0].len()];
    for (weight, row) in weights.iter().zip(rows) {
        component.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * f64::from(*x));
    }
    normalize(&mut component);
    let along = |row: &Vec<f32>| row.iter().zip(&component).map(|(x, c)| f64::from(*x) * c).sum::<f64>();
    let n_against = rows.iter().filter(|row| along(row) < 0.0).count();
    if 2 * n_against > rows.len() {
        component.iter_mut().for_each(|x| *x = -*x);
    }
    component
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Makes a vector of length 1; false where it is 0.
fn normalize(vector: &mut [f64]) -> bool {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length == 0.0 {
        return false;
    }
    vector.iter_mut().for_each(|x| *x /= length);
    true
}

#[cfg(test)]
mod tests {
    use super::SteerMethod;

    /// Differences along (3, 4, 0) / 5, mostly forward, and small ones across it.
    fn differences() -> Vec<Vec<f32>> {
        let along = [2.0, 1.5, -1.0, 3.0, 2.5];
        let across = [0.1, -0.2, 0.1, 0.15, -0.15];
        along.iter().zip(across).map(|(a, b)| vec![0.6 * a - 0.8 * b, 0.8 * a + 0.6 * b, 0.0]).collect()
    }

    #[test]
    fn the_mean_is_that_of_the_differences() {
        let direction = SteerMethod::Mean.direction(&differences()).expect("a direction");
        for (got, expected) in direction.iter().zip([0.96, 1.28, 0.0]) {
            assert!((got - expected).abs() < 1e-6, "{direction:?}");
        }
    }

    /// The eigenvector by hand: the differences lie in a plane.
    #[test]
    fn the_component_has_length_1_and_points_where_most_differences_do() {
        let flip = |rows: Vec<Vec<f32>>| -> Vec<Vec<f32>> {
            rows.into_iter().map(|row| row.into_iter().map(|x| -x).collect()).collect()
        };
        let [forward, back] =
            [differences(), flip(differences())].map(|rows| SteerMethod::Pca.direction(&rows));
        let (forward, back) = (forward.expect("a direction"), back.expect("a direction"));
        for ((forward, back), expected) in forward.iter().zip(&back).zip([0.604_456, 0.796_639, 0.0]) {
            assert!((forward - expected).abs() < 1e-5, "{forward} for {expected}");
            assert_eq!(*forward, -back);
        }
    }

    #[test]
    fn sides_that_are_the_same_have_no_direction() {
        for method in SteerMethod::ALL {
            let error = method.direction(&[vec![0.0; 3], vec![0.0; 3]]).expect_err("no direction");
            assert!(error.to_string().contains("expected pairs that differ"), "{error}");
        }
        assert!(SteerMethod::named("umap").unwrap_err().to_string().contains("(known: mean, pca)"));
    }
}
