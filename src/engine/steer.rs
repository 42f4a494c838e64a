//! Steering vectors from contrast pairs.

use super::states::wanted;
use super::{ContrastPair, Engine, Input, StatesAt};
use crate::backend::{Control, Part};
use crate::data::Problems;
use crate::error::{Error, Result};
use crate::reft::foreign::Interventions;
use crate::reft::{Components, Layers, Reft, ReftConfig, SteerMethod, Wanted, collect_with};

/// How steering vectors are found, and where they stand.
#[derive(Clone, Debug, PartialEq)]
pub struct SteerOptions {
    /// The layers, each with a vector of its own.
    pub layers: Layers,
    /// The parts of a layer: `block_output` if nothing is said.
    pub component: Components,
    /// The tokens that are steered: `all` if nothing is said.
    pub positions: String,
    /// The tokens of a pair whose states are compared; of several the mean counts.
    pub read: String,
    /// How a vector follows from the differences.
    pub method: SteerMethod,
}

impl Default for SteerOptions {
    fn default() -> SteerOptions {
        let ReftConfig { layers, component, .. } = ReftConfig::default();
        let [positions, read] = ["all", "-1"].map(str::to_owned);
        SteerOptions { layers, component, positions, read, method: SteerMethod::default() }
    }
}

impl Engine {
    /// Steering vectors from contrast pairs: for each place a vector that leads from the negative sides to the positive ones. They are
    /// interventions as others are: saved, trained on, and applied with a strength, which may be negative.
    ///
    /// # Errors
    /// `Input` if there are no pairs, a side is empty or too long (all of them are named), both sides of all pairs are the same, or an option
    /// makes no sense; `Device` if the device was lost or is full, `Aborted` if `control` ended it.
    pub async fn steer(
        &self,
        pairs: &[ContrastPair],
        options: &SteerOptions,
        control: &dyn Control,
    ) -> Result<Reft> {
        let SteerOptions { layers, component, positions, read, method } = options.clone();
        let config = ReftConfig {
            kind: "steering_vector".to_owned(),
            layers: layers.clone(),
            component: component.clone(),
            positions,
            rank: 1,
            tied: true,
            ..ReftConfig::default()
        };
        self.reft(std::slice::from_ref(&config))?; // refuses what cannot be before anything is computed
        let readers = self.readers(&StatesAt { layers, component, heads: Vec::new(), positions: read })?;
        let sides = self.sides(pairs, &readers)?;
        let mut differences = vec![Vec::new(); readers.interventions.len()];
        for (number, [positive, negative]) in sides.iter().enumerate() {
            let part = |side| Part::of(control, 2 * number + side, 1, 2 * sides.len());
            let positive = self.means(positive, &part(0)).await?;
            let negative = self.means(negative, &part(1)).await?;
            for (differences, (a, b)) in differences.iter_mut().zip(positive.iter().zip(&negative)) {
                differences.push(a.iter().zip(b).map(|(a, b)| a - b).collect());
            }
        }
        let directions = differences.iter().map(|differences| method.direction(differences));
        Interventions::steering(config, directions.collect::<Result<_>>()?).on(self.model())
    }

    /// Both sides of each pair, and what is read of them.
    fn sides(&self, pairs: &[ContrastPair], readers: &Reft) -> Result<Vec<[Side; 2]>> {
        if pairs.is_empty() {
            return Err(Error::input("pairs: expected at least one"));
        }
        let (mut sides, mut problems) = (Vec::new(), Problems::default());
        for (number, ContrastPair { positive, negative }) in (1..).zip(pairs) {
            let mut side = |name: &str, input: &Input| match self.side(input, readers) {
                Ok(side) => Some(side),
                Err(error) => {
                    problems.add(error.at(format!("pair {number}: {name}")));
                    None
                }
            };
            sides.extend(side("positive", positive).zip(side("negative", negative)).map(<[Side; 2]>::from));
        }
        problems.check().map(|()| sides)
    }

    fn side(&self, input: &Input, readers: &Reft) -> Result<Side> {
        let tokens = self.tokens_of(input)?;
        let wanted = readers.interventions.iter().map(|it| wanted(it, tokens.len()));
        Ok(Side { wanted: wanted.collect::<Result<_>>()?, tokens })
    }

    /// The mean state [W] of the tokens that are read, for each place.
    async fn means(&self, Side { tokens, wanted }: &Side, control: &dyn Control) -> Result<Vec<Vec<f32>>> {
        let states = collect_with(self.model(), tokens, wanted, control).await?;
        let mean = |(states, wanted): (&Vec<f32>, &Wanted)| {
            let (n_rows, width) = (wanted.rows.len() as f64, wanted.window.width);
            let of_column =
                |j: usize| states.iter().skip(j).step_by(width).copied().map(f64::from).sum::<f64>();
            (0..width).map(|j| (of_column(j) / n_rows) as f32).collect()
        };
        Ok(states.iter().zip(wanted).map(mean).collect())
    }
}

/// One side of a pair.
struct Side {
    tokens: Vec<u32>,
    /// What is read, for each place.
    wanted: Vec<Wanted>,
}
