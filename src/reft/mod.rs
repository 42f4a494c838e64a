//! Representation finetuning: interventions on a frozen model's hidden states (Wu et al. 2024, arXiv:2404.03592).
//!
//! An intervention is ⟨Φ, P, L⟩: a function with trained parameters, the positions it edits, and the layer it stands in.
//! The parameters of all interventions of a [`Reft`] lie in one flat buffer, so that one dispatch steps them all.

mod collect;
mod config;
mod edits;
mod file;
pub mod foreign;
mod head;
pub mod kinds;
mod params;
mod positions;
mod rotation;

use crate::backend::{Backend, Tensor};
use crate::error::{Error, Result};
use crate::kernel::{Edit, Mix, Rotation};
use crate::model::{Model, Place, Window};
use crate::plan::Plan;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub use collect::{Wanted, collect};
pub use config::{Components, Layers, ReftConfig};
pub use edits::{EditBufs, Edits, Gradients, RowEdits};
pub use head::{Head, HeadConfig, HeadParams};
pub use kinds::Kind;
pub use params::{Params, Part, Sizes};
pub use positions::{CountedRow, Positions, pyreft_slots};
pub use rotation::Base;

use config::Site;
use kinds::{Function, Projection};

/// One intervention: where it stands, what it edits, and where its numbers lie.
#[derive(Clone, Debug)]
pub struct Intervention {
    /// What it does.
    pub kind: &'static Kind,
    /// Layer and component.
    pub place: Place,
    /// The head it stands in, where it stands in one.
    pub head: Option<usize>,
    /// Which tokens it edits.
    pub positions: Positions,
    /// Its arithmetic.
    pub arithmetic: Arithmetic,
    /// What each edit is multiplied by.
    pub scale: f32,
    /// The intervention whose parameters it has: itself, unless they are shared.
    pub owner: usize,
    /// How many numbers its parameters are.
    pub sizes: Sizes,
    /// Where they begin in `theta`.
    pub theta_at: usize,
}

/// The arithmetic of an intervention, as kernels take it.
#[derive(Clone, Copy, Debug)]
pub enum Arithmetic {
    /// A low-rank edit, and the rotation that it turns by, where it has one.
    LowRank(Edit, Option<Rotation>),
    /// A row mixed with one of another run.
    Mix(Mix),
}

impl Intervention {
    /// The low-rank edit, if it is one.
    pub fn edit(&self) -> Option<&Edit> {
        match &self.arithmetic {
            Arithmetic::LowRank(edit, _) => Some(edit),
            Arithmetic::Mix(_) => None,
        }
    }

    /// The rotation, if it has one.
    pub fn rotation(&self) -> Option<&Rotation> {
        match &self.arithmetic {
            Arithmetic::LowRank(_, rotation) => rotation.as_ref(),
            Arithmetic::Mix(_) => None,
        }
    }

    /// The columns it edits.
    pub fn window(&self) -> Window {
        let first = match &self.arithmetic {
            Arithmetic::LowRank(edit, _) => edit.first,
            Arithmetic::Mix(mix) => mix.first,
        };
        Window { first, width: self.sizes.n_embd }
    }

    /// Numbers that say how much of an edit of one row is made: one for each dimension of the subspace, or one.
    pub fn strengths(&self) -> usize {
        self.edit().map_or(1, |edit| edit.rank)
    }

    /// Fails unless `got` numbers are the hidden states of another run that edits of so many rows read.
    pub(crate) fn check_source(&self, n_rows: usize, got: usize) -> Result<()> {
        let expected = if self.kind.reads_source() { n_rows * self.sizes.n_embd } else { got };
        match got == expected {
            true => Ok(()),
            false => Err(Error::input(format!(
                "{} reads hidden states of another run: expected {expected} numbers for {n_rows} rows, got {got}",
                self.kind.name
            ))),
        }
    }

    /// Where its parameters lie in `theta`, by name.
    pub fn parts(&self) -> Vec<Part> {
        self.sizes.parts(self.theta_at)
    }
}

/// A set of interventions on one model, trained and saved together.
pub struct Reft {
    /// As it was asked for.
    pub configs: Vec<ReftConfig>,
    /// In the order in which they are applied at one place.
    pub interventions: Vec<Intervention>,
    /// What reads off the last hidden state, where the task wants it.
    pub head: Option<Head>,
    /// All trained parameters: for each intervention that has its own X or P [R, D], W [R, I], b `[R]` and c `[R]`, as far as its
    /// kind has them; then the head's.
    pub theta: Tensor,
    /// The rotations' fixed bases.
    pub(crate) base: Tensor,
    /// The rotations as they follow from `theta`: for each that there is R [R, D].
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
        let mut params = Vec::new();
        for (sites, config) in sites.iter().zip(configs) {
            let mut random = ChaCha8Rng::seed_from_u64(config.seed);
            params.extend(owners(sites).map(|site| Params::random(site.kind, &site.sizes, &mut random)));
        }
        let head = head.map(|head| (head, head.random(model.dims.n_embd)));
        Reft::with_params(model, configs, &params, head)
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
        let mut layout = Layout { params: params.iter(), ..Layout::default() };
        let mut interventions: Vec<Intervention> = Vec::new();
        for sites in sites {
            let first = interventions.len();
            for site in sites {
                let owner = first + site.owner;
                let (theta_at, arithmetic) = match interventions.get(owner) {
                    Some(owner) => (owner.theta_at, moved(owner.arithmetic, &site)),
                    None => layout.place(&site),
                };
                let Site { kind, place, head, positions, sizes, scale, .. } = site;
                interventions.push(Intervention {
                    kind,
                    place,
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
        let reft = Reft { configs: configs.to_vec(), interventions, head, theta, base, rot };
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
        for rotation in self.rotations() {
            crate::kernel::rotation(plan, rotation, bufs);
        }
    }

    /// The rotations, each once.
    pub fn rotations(&self) -> impl Iterator<Item = &Rotation> {
        self.owners().filter_map(|(_, it)| it.rotation())
    }

    /// R [R, D] of each rotation, one after the other, as they follow from `theta`.
    pub fn rotations_tensor(&self) -> &Tensor {
        &self.rot
    }

    /// The interventions that have parameters of their own, with their numbers.
    pub fn owners(&self) -> impl Iterator<Item = (usize, &Intervention)> {
        self.interventions.iter().enumerate().filter(|(number, it)| it.owner == *number)
    }

    /// The parameters of each intervention that has its own, as they are now. In place of X stands R [R, D].
    ///
    /// # Errors
    /// `Device` if they cannot be read.
    pub async fn values(&self) -> Result<Vec<Params>> {
        let (theta, rot) = (self.theta.read(), self.rot.read());
        let (theta, rot) = (theta.f32().await?, rot.f32().await?);
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
        decays
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

fn check(model: &Model, configs: &[ReftConfig]) -> Result<Vec<Vec<Site>>> {
    match configs.len() {
        0 => Err(Error::input("interventions: expected at least one configuration")),
        1 => Ok(vec![configs[0].check(&model.dims)?]),
        _ => {
            let check = |(number, config): (usize, &ReftConfig)| {
                config.check(&model.dims).map_err(|error| error.at(format!("configuration {number}")))
            };
            configs.iter().enumerate().map(check).collect()
        }
    }
}

/// The sites of one configuration that have parameters of their own.
fn owners(sites: &[Site]) -> impl Iterator<Item = &Site> {
    sites.iter().enumerate().filter(|(number, site)| site.owner == *number).map(|(_, site)| site)
}

/// The flat buffers in the making.
#[derive(Default)]
struct Layout<'a> {
    params: std::slice::Iter<'a, Params>,
    theta: Vec<f32>,
    base: Vec<f32>,
    n_rot: usize,
}

impl Layout<'_> {
    /// Appends the next parameters; returns where they begin, and the arithmetic with them.
    fn place(&mut self, site: &Site) -> (usize, Arithmetic) {
        let params = self.params.next().expect("checked before");
        let (theta_at, sizes) = (self.theta.len(), &site.sizes);
        let parts = sizes.parts(theta_at);
        parts.iter().for_each(|part| self.theta.extend(params.part(part.name)));
        let at = |name: &str| parts.iter().find(|part| part.name == name).map(|part| part.range.start);
        let (n_embd, first) = (site.window.width, site.window.first);
        let arithmetic = match site.kind.function {
            Function::Mix { keep, gain } => Arithmetic::Mix(Mix { n_embd, first, keep, gain }),
            Function::LowRank { projection, learned, subtracts, .. } => {
                let rotation =
                    (projection == Projection::Orthonormal).then(|| self.rotation(params, sizes, theta_at));
                let edit = Edit {
                    n_embd,
                    n_in: sizes.n_in,
                    first,
                    rank: sizes.rank,
                    learned,
                    act: site.act,
                    subtracts,
                    free: projection == Projection::Free,
                    w_at: at("weight").unwrap_or(theta_at), // not read where there is none
                    b_at: at("bias"),
                    p_at: rotation.map_or(theta_at, |rotation| rotation.r_at),
                    c_at: at("projection_bias").filter(|_| subtracts),
                };
                Arithmetic::LowRank(edit, rotation)
            }
        };
        (theta_at, arithmetic)
    }

    fn rotation(&mut self, params: &Params, sizes: &Sizes, x_at: usize) -> Rotation {
        let (n_embd, rank) = (sizes.n_embd, sizes.rank);
        let base = params.base.as_ref().expect("checked before");
        let (base_at, r_at) = (self.base.len(), self.n_rot);
        self.base.extend_from_slice(&base.units);
        self.base.extend_from_slice(&base.signs);
        self.n_rot += rank * n_embd;
        Rotation { n_embd, rank, n_reflections: base.units.len() / n_embd, base_at, x_at, r_at }
    }
}

/// The same arithmetic with the same parameters at another site.
fn moved(arithmetic: Arithmetic, site: &Site) -> Arithmetic {
    let first = site.window.first;
    match arithmetic {
        Arithmetic::LowRank(edit, rotation) => Arithmetic::LowRank(Edit { first, ..edit }, rotation),
        Arithmetic::Mix(mix) => Arithmetic::Mix(Mix { first, ..mix }),
    }
}
