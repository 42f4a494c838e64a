//! Representation finetuning: interventions on a frozen model's hidden states (Wu et al. 2024, arXiv:2404.03592).
//!
//! An intervention is ⟨Φ, P, L⟩: a function with trained parameters, the positions it edits, and the layer it stands in.
//! The parameters of all interventions of a [`Reft`] lie in one flat buffer, so that one dispatch steps them all.

mod collect;
mod config;
mod edits;
mod encoder;
mod file;
pub mod foreign;
mod head;
mod intervention;
pub mod kinds;
mod layout;
mod magnitude;
mod params;
mod positions;
mod rotation;
mod steer;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::kernel::{self, Rotation};
use crate::model::{self, Component, Model, Place};
use crate::plan::{Buf, Plan};
use crate::tensor::Tensor;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::cell::RefCell;

pub use collect::{Wanted, collect, collect_with};
pub use config::{Components, Layers, ReftConfig};
pub use edits::{EditBufs, Edits, Gradients, RowEdits};
pub use file::{About, Trained};
pub use head::{Head, HeadConfig, HeadParams, Pooling};
pub use intervention::{Arithmetic, Intervention};
pub use kinds::Kind;
pub use params::{Params, Part, Sizes};
pub use positions::{CountedRow, Positions, pyreft_slots};
pub use rotation::Base;
pub use steer::SteerMethod;

pub(crate) use intervention::Dropped;
pub(crate) use positions::{position, virtual_tokens};

use config::Site;
use encoder::Encoder;
use kinds::Function;
use layout::{Layout, moved};
use magnitude::Magnitudes;

/// A set of interventions on one model, trained and saved together.
pub struct Reft {
    /// As it was asked for.
    pub configs: Vec<ReftConfig>,
    /// In the order in which they are applied at one place.
    pub interventions: Vec<Intervention>,
    /// What reads off the last hidden state, where the task wants it.
    pub head: Option<Head>,
    /// The names of the head's classes, one for each of its outputs; none where they have no names.
    pub classes: Vec<String>,
    /// All trained parameters: for each intervention that has its own X or P [R, D], W [R, I], b `[R]` and c `[R]`, as far as its
    /// kind has them; then the head's.
    pub theta: Tensor,
    /// The networks that learned rows follow from.
    encoders: Vec<Encoder>,
    /// The matrices whose rows have learned lengths.
    magnitudes: Vec<Magnitudes>,
    /// What is other with the model than it was when these were saved; nothing where they are new.
    pub warnings: Vec<String>,
    /// How they were trained last.
    trained: RefCell<Option<Trained>>,
    /// What is fixed: the rotations' bases, and the lengths that a matrix's rows have in the model.
    pub(crate) base: Tensor,
    /// What follows from `theta`: R [R, D] of each rotation, E of each encoder, and the factors of each row that has a learned length.
    pub(crate) rot: Tensor,
}

impl Reft {
    /// New interventions with random parameters.
    ///
    /// # Errors
    /// `Input` if the configuration asks for what the model does not have.
    pub fn new(model: &Model, configs: &[ReftConfig]) -> Result<Reft> {
        Reft::with_head(model, configs, None)
    }

    /// New interventions with random parameters, and a head.
    ///
    /// # Errors
    /// As [`Reft::new`].
    pub fn with_head(model: &Model, configs: &[ReftConfig], head: Option<HeadConfig>) -> Result<Reft> {
        let sites = check(model, configs)?;
        head.map_or(Ok(()), |head| head.check())?;
        let mut params = Vec::new();
        for (sites, config) in sites.iter().zip(configs) {
            let mut random = ChaCha8Rng::seed_from_u64(config.seed);
            params.extend(owners(sites).map(|site| Params::random(site.kind, &site.sizes, &mut random)));
        }
        let head = head.map(|head| (head, head.random(model.dims.n_embd)));
        let reft = Reft::with_params(model, configs, &params, head)?;
        for config in configs.iter().filter(|config| config.is_virtual()) {
            reft.begin_as_tokens(model, config.seed)?;
        }
        if !reft.magnitudes.is_empty() {
            reft.begin_as_weights(&model.backend)?;
        }
        Ok(reft)
    }

    /// Sets the learned lengths of rows to those that the model's own rows have.
    fn begin_as_weights(&self, backend: &Backend) -> Result<()> {
        let mut plan = Plan::new("lengths");
        let theta = plan.tensor(&self.theta);
        self.magnitudes.iter().for_each(|magnitudes| magnitudes.plan_start(&mut plan, theta));
        self.plan_followers(&mut plan);
        backend.prepare(plan)?.run()
    }

    /// Sets learned rows that stand for embeddings to those of random tokens: a start that the model has seen before.
    fn begin_as_tokens(&self, model: &Model, seed: u64) -> Result<()> {
        let rows = self.interventions.iter().find_map(|it| match &it.arithmetic {
            Arithmetic::Rows(rows) if it.place.component == Component::BlockInput => Some(rows),
            _ => None,
        });
        let Some(rows) = rows.filter(|rows| !rows.encoded) else { return Ok(()) };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let ids: Vec<u32> = (0..rows.n_rows).map(|_| random.next_u32() % model.dims.n_vocab as u32).collect();
        let each: Vec<[u32; 2]> = (0..rows.n_rows as u32).map(|row| [row, row]).collect();
        let mut plan = Plan::new("embeddings");
        let tokens = plan.kept("tokens", &[rows.n_rows]);
        let [index, whole] =
            [("rows", 2), ("whole", 1)].map(|(label, n)| plan.kept(label, &[rows.n_rows, n]));
        let h = model::embed(&mut plan, model, tokens);
        let theta = plan.tensor(&self.theta);
        // Of h as a gradient each row is the sum of one.
        kernel::learned_rows_backward(&mut plan, rows, [index, whole], [h, theta]);
        let prepared = model.backend.prepare(plan)?;
        prepared.tensor(tokens).write(0, &ids);
        prepared.tensor(index).write(0, each.as_flattened());
        prepared.tensor(whole).write_f32(&vec![1.0; rows.n_rows]);
        prepared.run()
    }

    /// Interventions with these parameters, one set for each that has its own, in order; and a head with its own.
    ///
    /// # Errors
    /// As [`Reft::new`], and `Input` if the parameters are not as many or not of the shapes that the configuration says.
    pub fn with_params(
        model: &Model,
        configs: &[ReftConfig],
        params: &[Params],
        head: Option<(HeadConfig, HeadParams)>,
    ) -> Result<Reft> {
        let sites = check(model, configs)?;
        let own: Vec<&Site> = sites.iter().flat_map(|sites| owners(sites)).collect();
        if own.len() != params.len() {
            let (expected, got) = (own.len(), params.len());
            return Err(Error::input(format!("parameters: expected {expected} interventions, got {got}")));
        }
        for (number, (site, params)) in own.iter().zip(params).enumerate() {
            params.check(site.kind, &site.sizes).map_err(|e| e.at(format!("intervention {number}")))?;
        }
        if let Some((config, params)) = &head {
            config.check()?;
            let expected = [config.outputs * model.dims.n_embd, if config.bias { config.outputs } else { 0 }];
            let got = [params.weight.len(), params.bias.len()];
            if expected != got {
                return Err(Error::input(format!("head: expected {expected:?} numbers, got {got:?}")));
            }
        }
        Reft::assemble(model, configs, sites, params, head)
    }

    fn assemble(
        model: &Model,
        configs: &[ReftConfig],
        sites: Vec<Vec<Site>>,
        params: &[Params],
        head: Option<(HeadConfig, HeadParams)>,
    ) -> Result<Reft> {
        let mut layout = Layout::new(model, params);
        let mut interventions: Vec<Intervention> = Vec::new();
        for sites in sites {
            let first = interventions.len();
            for site in sites {
                let owner = first + site.owner;
                let (theta_at, arithmetic) = match interventions.get(owner) {
                    Some(owner) => (owner.theta_at, moved(&owner.arithmetic, &site)),
                    None => layout.place(&site),
                };
                let has_magnitude = matches!(arithmetic, Arithmetic::LowRank { magnitude: Some(_), .. });
                let scale = if has_magnitude { 1.0 } else { site.scale };
                let Site { kind, place, source_layer, head, positions, sizes, .. } = site;
                interventions.push(Intervention {
                    kind,
                    place,
                    source_layer,
                    head,
                    positions,
                    arithmetic,
                    scale,
                    owner,
                    sizes,
                    theta_at,
                });
            }
        }
        let head = head.map(|(config, params)| {
            let head = config.place(model.dims.n_embd, layout.theta.len());
            layout.theta.extend(params.weight.iter().chain(&params.bias));
            head
        });
        let backend = &model.backend;
        let rot = backend.tensor("rotations", &[layout.n_rot])?;
        let theta = backend.tensor_of("theta", &[layout.theta.len()], bytemuck::cast_slice(&layout.theta))?;
        let base = backend.tensor_of("bases", &[layout.base.len()], bytemuck::cast_slice(&layout.base))?;
        let (encoders, magnitudes) = (layout.encoders, layout.magnitudes);
        let reft = Reft {
            configs: configs.to_vec(),
            interventions,
            head,
            classes: Vec::new(),
            theta,
            encoders,
            magnitudes,
            warnings: Vec::new(),
            trained: RefCell::default(),
            base,
            rot,
        };
        reft.follow(backend)?;
        Ok(reft)
    }

    /// Names the head's classes, in the order of its outputs; no names leave them without.
    ///
    /// # Errors
    /// `Input` if there is no head, it has not as many outputs, or two names are the same.
    pub fn with_classes(mut self, classes: Vec<String>) -> Result<Reft> {
        let outputs = self.head.map_or(0, |head| head.config.outputs);
        if !classes.is_empty() && classes.len() != outputs {
            let got = classes.len();
            return Err(Error::input(format!("classes: {got} names for a head of {outputs} outputs")));
        }
        if let Some(twice) = (1..classes.len()).find(|at| classes[..*at].contains(&classes[*at])) {
            return Err(Error::input(format!("classes: {:?} is there twice", classes[twice])));
        }
        self.classes = classes;
        Ok(self)
    }

    /// Asks the model's weights for what is fixed, and makes what follows from the parameters follow from them as they are now.
    pub(crate) fn follow(&self, backend: &Backend) -> Result<()> {
        let mut plan = Plan::new("followers");
        let base = plan.tensor(&self.base);
        self.magnitudes.iter().for_each(|magnitudes| magnitudes.plan_norms(&mut plan, base));
        self.plan_followers(&mut plan);
        backend.prepare(plan)?.run()
    }

    /// Appends what makes rotations, encoded rows and the factors of scaled rows follow from the parameters.
    pub fn plan_followers(&self, plan: &mut Plan) {
        let [theta, base, rot] = [&self.theta, &self.base, &self.rot].map(|tensor| plan.tensor(tensor));
        for rotation in self.rotations() {
            kernel::rotation(plan, rotation, [theta, base, rot]);
        }
        self.encoders.iter().for_each(|encoder| encoder.plan(plan, [theta, rot]));
        self.magnitudes.iter().for_each(|magnitudes| magnitudes.plan(plan, [theta, base, rot]));
    }

    /// Appends what takes the gradients of rotations, encoded rows and factors to those of the parameters they follow from.
    /// `even` says of each intervention whether its edits are as strong in all dimensions of the subspace.
    pub fn plan_followers_backward(&self, plan: &mut Plan, gradients: &Gradients, even: &[bool]) {
        let [theta, base, rot] = [&self.theta, &self.base, &self.rot].map(|tensor| plan.tensor(tensor));
        let [grad, drot] = [&gradients.theta, &gradients.rot].map(|tensor| plan.tensor(tensor));
        for (number, it) in self.owners() {
            let Some(rotation) = it.rotation() else { continue };
            let mut sharers = self.interventions.iter().zip(even).filter(|(it, _)| it.owner == number);
            let span_only = it.sees_only_span() && sharers.all(|(_, even)| *even);
            kernel::rotation_backward(plan, rotation, span_only, [theta, base, drot, grad]);
        }
        self.encoders.iter().for_each(|encoder| encoder.plan_backward(plan, [theta, drot, grad]));
        self.magnitudes.iter().for_each(|magnitudes| magnitudes.plan_backward(plan, [rot, drot, grad]));
    }

    /// Before a step: makes directions that are detected unit vectors, and their strengths the highest that was.
    pub(crate) fn plan_unit_rows(&self, plan: &mut Plan, grad: Buf, gradients: &Gradients) {
        for (_, it) in self.owners() {
            if let Some((edit, at)) = it.edit().zip(it.detection()) {
                let [theta, drot] = [&self.theta, &gradients.rot].map(|tensor| plan.tensor(tensor));
                kernel::unit_row(plan, edit, at, [theta, grad, drot]);
            }
        }
    }

    /// Virtual tokens before the prompt.
    pub fn n_virtual(&self) -> usize {
        self.interventions.iter().map(|it| it.sizes.n_virtual).max().unwrap_or(0)
    }

    /// Virtual tokens that have no position.
    pub fn n_unplaced(&self) -> usize {
        let placed = |it: &Intervention| matches!(it.kind.function, Function::Rows { placed: true, .. });
        if self.interventions.iter().any(placed) { 0 } else { self.n_virtual() }
    }

    /// How they were trained last, if they were; their file says it, too.
    pub fn trained(&self) -> Option<Trained> {
        self.trained.borrow().clone()
    }

    /// Notes how they are trained.
    pub(crate) fn note(&self, trained: Trained) {
        self.trained.replace(Some(trained));
    }

    /// The rotations, each once.
    pub fn rotations(&self) -> impl Iterator<Item = &Rotation> {
        self.owners().filter_map(|(_, it)| it.rotation())
    }

    /// R [R, D] of each rotation, one after the other, as they follow from `theta`.
    pub fn rotations_tensor(&self) -> &Tensor {
        &self.rot
    }

    /// Sets R of each rotation to these numbers, which are those that follow from its parameters, up to rounding.
    fn write_rotations(&self, rotations: &[Vec<f32>]) {
        for (rotation, numbers) in self.rotations().zip(rotations) {
            self.rot.write(rotation.r_at, bytemuck::cast_slice(numbers));
        }
    }

    /// The interventions that have parameters of their own, with their numbers.
    pub fn owners(&self) -> impl Iterator<Item = (usize, &Intervention)> {
        self.interventions.iter().enumerate().filter(|(number, it)| it.owner == *number)
    }

    /// The parameters of each intervention that has its own, as they are now. In place of X stands R [R, D].
    ///
    /// # Errors
    /// `Device` if they cannot be read, `Input` if one is not finite.
    pub async fn values(&self) -> Result<Vec<Params>> {
        let (theta, rot) = (self.theta.read(), self.rot.read());
        let (theta, rot) = (theta.f32().await?, rot.f32().await?);
        check_finite("parameters", &theta)?;
        check_finite("rotations", &rot)?;
        let values = self.owners().map(|(_, it)| {
            let mut params = Params::default();
            for part in it.parts() {
                *params.part_mut(part.name) = theta[part.range.clone()].to_vec();
            }
            if let Some(rotation) = it.rotation() {
                params.projection = rot[rotation.r_at..][..params.projection.len()].to_vec();
            }
            params
        });
        Ok(values.collect())
    }

    /// The head's numbers, as they are now.
    ///
    /// # Errors
    /// `Device` if they cannot be read.
    pub async fn head_values(&self) -> Result<Option<HeadParams>> {
        let Some(head) = &self.head else { return Ok(None) };
        Ok(Some(head.numbers(&self.theta.read().f32().await?)))
    }

    /// For each parameter whether weight decay is for it: a rotation's fixed parts, on and left of the diagonal of X, never decay.
    pub(crate) fn decays(&self) -> Vec<f32> {
        let mut decays = vec![1.0; self.n_params()];
        for rotation in self.rotations() {
            for row in 0..rotation.rank {
                decays[rotation.x_at + row * rotation.n_embd..][..=row].fill(0.0);
            }
        }
        self.temperatures().for_each(|at| decays[at] = 0.0);
        self.detections().flatten().for_each(|at| decays[at] = 0.0);
        decays
    }

    /// Where in `theta` the temperatures of learned boundaries lie: no gradient moves them.
    fn temperatures(&self) -> impl Iterator<Item = usize> {
        self.owners().filter_map(|(_, it)| match it.arithmetic {
            Arithmetic::LowRank { boundary, .. } => Some(boundary? + 1),
            _ => None,
        })
    }

    /// Where in `theta` the strengths and the penalties of detections lie: no gradient moves them.
    fn detections(&self) -> impl Iterator<Item = [usize; 2]> {
        self.owners().filter_map(|(_, it)| Some([it.edit()?.b_at?, it.detection()?.penalty_at]))
    }

    /// Sets what changes as training goes, for the step after `n_done` of `n_steps`: the temperatures of learned boundaries, pyvene's,
    /// which fall from 50 to 0.1 at the last step, and the penalties of detections, AxBench's, which rise from 0 towards 0.005.
    pub(crate) fn anneal(&self, n_done: usize, n_steps: usize) {
        let temperature = 50.0 + n_done as f32 / (n_steps - 1).max(1) as f32 * (0.1 - 50.0);
        self.temperatures().for_each(|at| self.theta.write(at, &[f32::to_bits(temperature)]));
        let penalty = 0.005 * n_done as f32 / n_steps as f32;
        self.detections().for_each(|[_, at]| self.theta.write(at, &[f32::to_bits(penalty)]));
    }

    /// The lowest place that is edited: what is below it is the bare model's.
    pub fn lowest(&self) -> Place {
        self.interventions.iter().map(|it| it.place).min().expect("there are interventions")
    }

    /// Trained numbers, as pyreft counts them: R in full.
    pub fn n_params(&self) -> usize {
        self.theta.shape().iter().product()
    }
}

/// Fails unless all numbers are finite: nothing else is saved.
fn check_finite(name: &str, values: &[f32]) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::input(format!("{name}: expected finite numbers, got {value}"))),
        None => Ok(()),
    }
}

fn check(model: &Model, configs: &[ReftConfig]) -> Result<Vec<Vec<Site>>> {
    let n_virtual = configs.iter().filter(|config| config.is_virtual()).count();
    if n_virtual > 1 {
        let message = format!("{n_virtual} configurations with virtual tokens: expected at most one");
        return Err(Error::input(message));
    }
    match configs.len() {
        0 => Err(Error::input("interventions: expected at least one configuration")),
        1 => Ok(vec![configs[0].check(&model.dims)?]),
        _ => {
            let check = |(number, config): (usize, &ReftConfig)| {
                config.check(&model.dims).map_err(|error| error.at(format!("configuration {number}")))
            };
            (1..).zip(configs).map(check).collect()
        }
    }
}

/// The sites of one configuration that have parameters of their own.
fn owners(sites: &[Site]) -> impl Iterator<Item = &Site> {
    sites.iter().enumerate().filter(|(number, site)| site.owner == *number).map(|(_, site)| site)
}
