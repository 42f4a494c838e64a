//! Interventions as hooks of a pass: the edits on the way up, and on the way down their gradients.

use super::Reft;
use crate::backend::Tensor;
use crate::kernel::{self, EditTrace};
use crate::model::{Hooks, Place};
use crate::plan::{Buf, Plan};

/// For each intervention of one [`Reft`] the rows it edits, and how often each counts in gradients; no row twice.
pub type EditRows = Vec<Vec<[u32; 2]>>;

/// Where gradients go, laid out as `theta` and `rot`.
#[derive(Clone)]
pub struct Gradients {
    /// Of the trained parameters.
    pub theta: Tensor,
    /// Of the rotations.
    pub rot: Tensor,
}

/// The interventions of some [`Reft`]s, on one pass.
pub struct Edits<'a> {
    sites: Vec<Site<'a>>,
    gradients: Option<Gradients>,
}

struct Site<'a> {
    reft: &'a Reft,
    number: usize,
    rows: Buf,
    trace: Option<EditTrace>,
}

impl<'a> Edits<'a> {
    /// Buffers for the rows that each intervention of each Reft edits: so many as `counts` says.
    pub fn new(plan: &mut Plan, refts: &[(&'a Reft, Vec<usize>)]) -> Edits<'a> {
        let mut sites = Vec::new();
        for (reft, counts) in refts {
            for (number, count) in counts.iter().enumerate() {
                let rows = plan.kept("edits", &[*count, 2]);
                sites.push(Site { reft, number, rows, trace: None });
            }
        }
        Edits { sites, gradients: None }
    }

    /// Where [`Hooks::edit_backward`] leaves the gradients of the parameters.
    #[must_use]
    pub fn with_gradients(mut self, gradients: &Gradients) -> Edits<'a> {
        self.gradients = Some(gradients.clone());
        self
    }

    /// The buffers of rows, in order of Refts and their interventions.
    pub fn rows(&self) -> Vec<Buf> {
        self.sites.iter().map(|site| site.rows).collect()
    }
}

impl Site<'_> {
    fn place(&self) -> Place {
        self.reft.interventions[self.number].place
    }
}

impl Hooks for Edits<'_> {
    fn stands_at(&self, place: Place) -> bool {
        self.sites.iter().any(|site| site.place() == place)
    }

    fn lowest(&self) -> Option<Place> {
        self.sites.iter().map(Site::place).min()
    }

    fn edit(&mut self, plan: &mut Plan, place: Place, h: Buf) {
        for site in self.sites.iter_mut().filter(|site| site.place() == place) {
            let edit = &site.reft.interventions[site.number].edit;
            let params = [&site.reft.theta, &site.reft.rot].map(|tensor| plan.tensor(tensor));
            site.trace = Some(kernel::lowrank_edit(plan, edit, site.rows, params, h));
        }
    }

    fn edit_backward(&mut self, plan: &mut Plan, place: Place, dh: Buf) {
        let gradients = self.gradients.as_ref().expect("a place for gradients");
        for site in self.sites.iter().rev().filter(|site| site.place() == place) {
            let edit = &site.reft.interventions[site.number].edit;
            let params = [&site.reft.theta, &site.reft.rot].map(|tensor| plan.tensor(tensor));
            let to = [&gradients.theta, &gradients.rot].map(|tensor| plan.tensor(tensor));
            let trace = site.trace.as_ref().expect("the edit stands in the forward pass");
            kernel::lowrank_edit_backward(plan, edit, site.rows, params, trace, dh, to);
        }
    }
}
