//! Representation finetuning: interventions on a frozen model's hidden states (Wu et al. 2024, arXiv:2404.03592).
//!
//! An intervention is ⟨Φ, P, L⟩: a function with trained parameters, the positions it edits, and the layer it stands in.
//! The parameters of all interventions of a [`Reft`] lie in one flat buffer, so that one dispatch steps them all.

mod config;
mod edits;
mod file;
mod loreft;
mod positions;
mod rotation;

use crate::backend::{Backend, Tensor};
use crate::error::{Error, Result};
use crate::kernel::{Edit, Rotation};
use crate::model::{Model, Place};
use crate::plan::Plan;

pub use config::{KINDS, Layers, ReftConfig};
pub use edits::{EditRows, Edits, Gradients};
pub use loreft::Params;
pub use positions::{Part, Positions};
pub use rotation::Base;

use config::Checked;

/// One intervention: where it stands, what it edits, and where its numbers lie.
#[derive(Clone, Copy, Debug)]
pub struct Intervention {
    /// Layer and component.
    pub place: Place,
    /// The part of the prompt it edits.
    pub part: Part,
    /// Its arithmetic.
    pub edit: Edit,
    /// Its rotation.
    pub rotation: Rotation,
}

/// A set of interventions on one model, trained and saved together.
pub struct Reft {
    /// As it was asked for.
    pub config: ReftConfig,
    /// In the order in which they are applied at one place: pyreft's, all of the prefix before all of the suffix.
    pub interventions: Vec<Intervention>,
    /// Which tokens they edit.
    pub positions: Positions,
    /// All trained parameters: for each intervention X [R, D], W [R, D], b `[R]`.
    pub theta: Tensor,
    /// The rotations' fixed bases.
    pub(crate) base: Tensor,
    /// The rotations as they follow from `theta`: for each intervention R [R, D].
    pub(crate) rot: Tensor,
}

impl Reft {
    /// New interventions with random parameters.
    ///
    /// # Errors
    /// `Input` if the configuration asks for what the model does not have.
    pub fn new(model: &Model, config: &ReftConfig) -> Result<Reft> {
        let checked = config.check(&model.dims)?;
        let (rank, n_embd) = (config.rank, model.dims.n_embd);
        let mut random = loreft::seeded(config.seed);
        let params = checked.sites.iter().map(|_| Params::random(rank, n_embd, &mut random)).collect();
        Reft::assemble(model, config, checked, params)
    }

    /// Interventions with these parameters, one set for each in order.
    ///
    /// # Errors
    /// As [`Reft::new`], and `Input` if the parameters are not as many or not of the shapes that the configuration says.
    pub fn with_params(model: &Model, config: &ReftConfig, params: Vec<Params>) -> Result<Reft> {
        let checked = config.check(&model.dims)?;
        let (expected, got) = (checked.sites.len(), params.len());
        if expected != got {
            return Err(Error::input(format!("parameters: expected {expected} interventions, got {got}")));
        }
        for (number, params) in params.iter().enumerate() {
            params
                .check(config.rank, model.dims.n_embd)
                .map_err(|e| e.at(format!("intervention {number}")))?;
        }
        Reft::assemble(model, config, checked, params)
    }

    fn assemble(model: &Model, config: &ReftConfig, checked: Checked, params: Vec<Params>) -> Result<Reft> {
        let (rank, n_embd) = (config.rank, model.dims.n_embd);
        let (mut theta, mut base) = (Vec::new(), Vec::new());
        let mut interventions = Vec::with_capacity(params.len());
        for ((place, part), params) in checked.sites.into_iter().zip(&params) {
            let (x_at, r_at) = (theta.len(), interventions.len() * rank * n_embd);
            let (w_at, b_at) = (x_at + rank * n_embd, x_at + 2 * rank * n_embd);
            let (n_reflections, base_at) = (params.base.units.len() / n_embd, base.len());
            theta.extend_from_slice(&params.x);
            theta.extend_from_slice(&params.weight);
            theta.extend_from_slice(&params.bias);
            base.extend_from_slice(&params.base.units);
            base.extend_from_slice(&params.base.signs);
            interventions.push(Intervention {
                place,
                part,
                edit: Edit { n_embd, rank, w_at, b_at, r_at, act: checked.act },
                rotation: Rotation { n_embd, rank, n_reflections, base_at, x_at, r_at },
            });
        }
        let backend = &model.backend;
        let rot = backend.tensor("rotations", &[interventions.len() * rank * n_embd])?;
        let theta = backend.tensor_of("theta", &[theta.len()], bytemuck::cast_slice(&theta))?;
        let base = backend.tensor_of("bases", &[base.len()], bytemuck::cast_slice(&base))?;
        let positions = checked.positions;
        let reft = Reft { config: config.clone(), interventions, positions, theta, base, rot };
        reft.turn(backend)?;
        Ok(reft)
    }

    /// Makes the rotations follow from the parameters as they are now.
    fn turn(&self, backend: &Backend) -> Result<()> {
        let mut plan = Plan::new("rotations", backend.target());
        self.plan_rotations(&mut plan);
        backend.prepare(plan)?.run()
    }

    /// Appends what makes the rotations follow from the parameters.
    pub fn plan_rotations(&self, plan: &mut Plan) {
        let bufs = [&self.theta, &self.base, &self.rot].map(|tensor| plan.tensor(tensor));
        for intervention in &self.interventions {
            crate::kernel::rotation(plan, &intervention.rotation, bufs);
        }
    }

    /// R [R, D], W [R, D] and b `[R]` of each intervention, as they are now.
    ///
    /// # Errors
    /// `Device` if they cannot be read.
    pub async fn values(&self) -> Result<Vec<[Vec<f32>; 3]>> {
        let (theta, rot) = (self.theta.read(), self.rot.read());
        let (theta, rot) = (theta.f32().await?, rot.f32().await?);
        let values = self.interventions.iter().map(|it| {
            let Edit { n_embd, rank, w_at, b_at, r_at, .. } = it.edit;
            let n = rank * n_embd;
            [rot[r_at..][..n].to_vec(), theta[w_at..][..n].to_vec(), theta[b_at..][..rank].to_vec()]
        });
        Ok(values.collect())
    }

    /// Trained numbers, as pyreft counts them: R in full.
    pub fn n_params(&self) -> usize {
        self.theta.shape().iter().product()
    }
}
