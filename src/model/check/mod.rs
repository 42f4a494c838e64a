//! Compares a GPU with the CPU at the model's own shapes, before anybody trusts what it computes.
//!
//! Compilers and drivers have faults that show at some shapes only: Mesa's llvmpipe ends a shader after 65,535 turns of its loops, and
//! gives wrong gradients, silently, for a vocabulary above 26,214. So every kind of product that the model runs is run once at its
//! full size, and the CPU computes a few of its outputs from a few rows of the weights.

mod edits;
mod probes;
mod products;

use super::Model;
use crate::backend::{Backend, Control, NoControl};
use crate::error::{Error, Result};
use crate::plan::{Buf, Content, Field, Plan, Role, Step};
use crate::tensor::Readback;
use probes::Made;
use std::fmt;

/// How far an output may be off, as a share of the largest: rounding stays a hundred times below.
const TOLERANCE: f32 = 2e-4;

/// What a check found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What differs; nothing on a sound device.
    pub faults: Vec<Fault>,
    /// The kernels that were compared.
    pub kernels: Vec<&'static str>,
    /// Operations that the GPU did.
    pub operations: u64,
}

/// A kernel that computes something else on the GPU than on the CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The kernel.
    pub kernel: &'static str,
    /// Where: the weight's format and shape, or what else it was run on.
    pub place: String,
    /// The largest difference, as a share of the largest value; or the share of tokens that differ.
    pub deviation: f32,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { kernel, place, deviation } = self;
        write!(f, "{kernel} ({place}) is off by {:.2} %", 100.0 * deviation)
    }
}

impl Verdict {
    /// Whether nothing differs.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn new() -> Verdict {
        Verdict { faults: Vec::new(), kernels: Vec::new(), operations: 0 }
    }

    /// Counts the plan that a GPU ran.
    fn ran(&mut self, plan: &Plan) {
        self.operations += plan.work();
        for step in plan.steps() {
            if !self.kernels.contains(&step.kernel.name) {
                self.kernels.push(step.kernel.name);
            }
        }
    }

    /// Compares what a kernel gave on both machines.
    fn compare(&mut self, kernel: &'static str, place: &str, got: &[f32], want: &[f32]) {
        let deviation = deviation(got, want);
        if deviation > TOLERANCE || deviation.is_nan() {
            self.faults.push(Fault { kernel, place: place.to_owned(), deviation });
        }
    }

    /// Compares what a kernel chose on both machines.
    fn compare_ids(&mut self, kernel: &'static str, place: &str, got: &[u32], want: &[u32]) {
        let differ = got.iter().zip(want).filter(|(got, want)| got != want).count();
        if differ > 0 {
            let deviation = differ as f32 / want.len() as f32;
            self.faults.push(Fault { kernel, place: place.to_owned(), deviation });
        }
    }
}

/// The largest difference, as a share of the largest value; NaN where there is none in one of them only.
fn deviation(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len(), "as many outputs on both machines");
    let largest = want.iter().fold(1e-6f32, |most, x| most.max(x.abs()));
    let off = got.iter().zip(want).map(|(got, want)| (got - want).abs());
    off.fold(0.0, |most: f32, off| if off.is_nan() || most.is_nan() { f32::NAN } else { most.max(off) })
        / largest
}

/// Compares the model's GPU with the CPU. Machines other than GPUs are sound.
///
/// # Errors
/// `Device` if the device was lost or is full.
pub async fn check(model: &Model) -> Result<Verdict> {
    check_with(model, &NoControl).await
}

/// As [`check`]; `control` hears how far it is, and may end it.
///
/// # Errors
/// As [`check`]; `Aborted` if `control` ended it.
pub async fn check_with(model: &Model, control: &dyn Control) -> Result<Verdict> {
    let mut verdict = Verdict::new();
    if !matches!(model.backend, Backend::Gpu(_)) {
        return Ok(verdict);
    }
    let cpu = Backend::cpu_with(1);
    let (slabs, mut probes) = (products::slabs(model), probes::probes(model));
    probes.push(edits::edits(model));
    let n_all = slabs.len() + probes.len();
    for (number, slab) in slabs.iter().enumerate() {
        told(control, number, n_all)?;
        // A slab of the vocabulary may have an odd number of rows; no bias is as long.
        let biased = model.has_biases() && slab.rows.is_multiple_of(4);
        products::compare(&mut verdict, [&model.backend, &cpu], slab, biased).await?;
    }
    for (number, probe) in probes.iter().enumerate() {
        told(control, slabs.len() + number, n_all)?;
        compare(&mut verdict, [&model.backend, &cpu], probe).await?;
    }
    Ok(verdict)
}

/// Compiles the kernels that [`check`] compares: all that the bare model runs, forward and backward. Does nothing on machines other than
/// GPUs, and where they are compiled already.
///
/// # Errors
/// `Device` if the device was lost or refuses a kernel; `Aborted` if `control` ended it.
pub async fn compile(model: &Model, control: &dyn Control) -> Result<()> {
    if !matches!(model.backend, Backend::Gpu(_)) {
        return Ok(());
    }
    let tally = model.backend.tally();
    let mut plans: Vec<Plan> = products::slabs(model).iter().map(products::plan).collect();
    for probe in probes::probes(model) {
        plans.push(probe.plan(&tally)?);
    }
    let format = |step: &Step| step.weight.as_ref().map(|slab| slab.format.name);
    let mut steps: Vec<&Step> = Vec::new();
    for step in plans.iter().flat_map(Plan::steps) {
        let is_same = |known: &&Step| known.kernel.name == step.kernel.name && format(known) == format(step);
        if !steps.iter().any(is_same) {
            steps.push(step);
        }
    }
    for (number, step) in steps.iter().enumerate() {
        told(control, number, steps.len())?;
        model.backend.compile(step).await?;
    }
    told(control, 1, 1)
}

fn told(control: &dyn Control, done: usize, all: usize) -> Result<()> {
    control.progress(done as f64 / all as f64);
    match control.cancelled() {
        true => Err(Error::aborted("the call was ended by its caller")),
        false => Ok(()),
    }
}

/// Runs a probe on the GPU and on the CPU, which computes while the GPU does.
async fn compare(verdict: &mut Verdict, [gpu, cpu]: [&Backend; 2], probe: &probes::Probe) -> Result<()> {
    let outputs = probe.run(gpu).await?;
    verdict.ran(&outputs.plan);
    let wanted = probe.run(cpu).await?;
    for (output, want) in outputs.reads.into_iter().zip(wanted.reads) {
        let [got, ids] = [output.words.words().await?, want.words.words().await?];
        match output.content {
            Content::Numbers(Field::U32) => verdict.compare_ids(output.kernel, &probe.place, &got, &ids),
            _ => {
                let [got, want] = [&got, &ids].map(|words| bytemuck::cast_slice(words));
                verdict.compare(output.kernel, &probe.place, got, want);
            }
        }
    }
    Ok(())
}

/// What a kernel wrote, on its way.
struct Output {
    kernel: &'static str,
    content: Content,
    words: Readback,
}

/// A plan that was run, and its outputs.
struct Ran {
    plan: Plan,
    reads: Vec<Output>,
}

impl Made<'_> {
    /// Runs the plan and reads some buffers.
    async fn run(self, bufs: &[Buf]) -> Result<Ran> {
        let Made { backend, mut plan, .. } = self;
        bufs.iter().for_each(|buf| plan.keep(*buf));
        let prepared = backend.prepare(plan)?;
        let tensors: Vec<_> = bufs.iter().map(|buf| prepared.tensor(*buf)).collect();
        let reads = prepared.run_with(&tensors, &NoControl).await?;
        let output = |(buf, words): (&Buf, Readback)| {
            let (kernel, content) = writer(prepared.plan(), *buf);
            Output { kernel, content, words }
        };
        let reads = bufs.iter().zip(reads).map(output).collect();
        Ok(Ran { plan: prepared.into_plan(), reads })
    }
}

/// The kernel that writes a buffer last, and what it writes.
fn writer(plan: &Plan, buf: Buf) -> (&'static str, Content) {
    let writes = |step: &Step| {
        let mut args = step.args.iter().zip(step.kernel.args);
        args.find(|(arg, signature)| **arg == buf && signature.role != Role::In)
            .map(|(_, signature)| (step.kernel.name, signature.content))
    };
    plan.steps().iter().rev().find_map(writes).expect("a step writes it")
}

impl Model {
    /// What a verdict of [`check`] holds for: the device, this version of webreft, and the shapes that were compared.
    pub fn check_key(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let shapes: Vec<String> = products::slabs(self).iter().map(products::place).collect();
        let (device, shapes) = (self.backend.name(), shapes.join(", "));
        let (arch, n_ctx) = (self.arch.name, self.n_ctx);
        format!("webreft {version} on {device}: {arch}, context {n_ctx}, {:?}, {shapes}", self.dims)
    }
}

#[cfg(test)]
mod tests {
    use super::{TOLERANCE, deviation};

    #[test]
    fn a_deviation_is_a_share_of_the_largest_value() {
        assert_eq!(deviation(&[1.0, 4.0], &[2.0, 4.0]), 0.25);
        assert_eq!(deviation(&[], &[]), 0.0);
        assert!(deviation(&[0.0, 1.0], &[0.0, 1.0]) <= TOLERANCE);
        assert!(deviation(&[f32::NAN, 1.0], &[0.0, 1.0]).is_nan());
        assert!(deviation(&[1.0, f32::NAN], &[0.0, 1.0]).is_nan());
    }
}
