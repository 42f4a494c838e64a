//! A computation written down: buffers, and steps over them in order.
//!
//! A [`Plan`] knows no device, and only the signatures of kernels. Kernels append steps to it, a backend carries them out, and it
//! prints: the print is the first thing to read when a number is wrong. Shapes are checked while the plan is built; a mismatch is
//! a bug and panics with the kernel's name.

mod kernel;
mod memory;
mod weight;
mod work;

use crate::tensor::Tensor;
use std::fmt;

pub use kernel::{Arg, Bufs, Content, Field, Fields, Kernel, Param, Record, Role};
pub use memory::{Slots, assign_slots};
pub use weight::{Matrix, Slab};

pub(crate) use kernel::record;

/// A buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buf(usize);

impl Buf {
    /// Where the buffer stands in [`Plan::buffers`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where a buffer's words live.
#[derive(Clone)]
pub enum Source {
    /// In memory that steps share: its content ends with its last use.
    Scratch,
    /// In memory of its own, kept from run to run: inputs and results.
    Kept,
    /// In a tensor that outlives the plan: norms, caches, trained parameters.
    Tensor(Tensor),
}

/// What a plan knows of one buffer. Elements are four bytes each, f32 or u32.
pub struct Buffer {
    /// The name in prints and errors.
    pub label: String,
    /// Row-major, last index fastest.
    pub shape: Vec<usize>,
    /// Where it lives.
    pub source: Source,
}

impl Buffer {
    /// Elements, and words of four bytes.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn kept(&self) -> Buffer {
        let source = match &self.source {
            Source::Scratch => Source::Kept,
            source => source.clone(),
        };
        Buffer { label: self.label.clone(), shape: self.shape.clone(), source }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One dispatch of a kernel.
#[derive(Clone)]
pub struct Step {
    /// What is run.
    pub kernel: &'static Kernel,
    /// Where in the model, for prints: `layer 3`.
    pub place: String,
    /// The words of `Params`.
    pub params: Vec<u32>,
    /// One buffer for each of the kernel's arguments.
    pub args: Vec<Buf>,
    /// The part of a weight matrix it reads.
    pub weight: Option<Slab>,
    /// Workgroups in x, y and z.
    pub grid: [usize; 3],
}

/// Buffers, and steps over them in order.
pub struct Plan {
    name: String,
    place: String,
    buffers: Vec<Buffer>,
    steps: Vec<Step>,
    /// How many steps a run may be ended before.
    committed: Option<usize>,
}

impl Plan {
    /// An empty plan.
    pub fn new(name: impl Into<String>) -> Plan {
        Plan {
            name: name.into(),
            place: String::new(),
            buffers: Vec::new(),
            steps: Vec::new(),
            committed: None,
        }
    }

    /// Names the place that the next steps belong to.
    pub fn at(&mut self, place: impl Into<String>) {
        self.place = place.into();
    }

    /// A buffer for a result between steps.
    pub fn scratch(&mut self, label: impl Into<String>, shape: &[usize]) -> Buf {
        self.buffer(label, shape, Source::Scratch)
    }

    /// A buffer of its own, written or read by the caller between runs.
    pub fn kept(&mut self, label: impl Into<String>, shape: &[usize]) -> Buf {
        self.buffer(label, shape, Source::Kept)
    }

    /// A tensor that lives outside of the plan, as a buffer of it.
    pub fn tensor(&mut self, tensor: &Tensor) -> Buf {
        let known = |b: &Buffer| matches!(&b.source, Source::Tensor(t) if t.same_as(tensor));
        match self.buffers.iter().position(known) {
            Some(index) => Buf(index),
            None => self.buffer(tensor.label(), tensor.shape(), Source::Tensor(tensor.clone())),
        }
    }

    fn buffer(&mut self, label: impl Into<String>, shape: &[usize], source: Source) -> Buf {
        self.buffers.push(Buffer { label: label.into(), shape: shape.to_vec(), source });
        Buf(self.buffers.len() - 1)
    }

    /// Keeps a scratch buffer's content after the run, so that it can be read.
    pub fn keep(&mut self, buf: Buf) {
        let source = &mut self.buffers[buf.0].source;
        if matches!(source, Source::Scratch) {
            *source = Source::Kept;
        }
    }

    /// The shape of a buffer that must have `N` dimensions.
    pub fn shape<const N: usize>(&self, buf: Buf) -> [usize; N] {
        let buffer = &self.buffers[buf.0];
        buffer
            .shape
            .as_slice()
            .try_into()
            .unwrap_or_else(|_| panic!("{} {:?}: expected {N} dimensions", buffer.label, buffer.shape))
    }

    /// Checks the shape of a kernel's argument.
    pub fn expect(&self, what: &str, buf: Buf, shape: &[usize]) {
        let buffer = &self.buffers[buf.0];
        assert_eq!(buffer.shape, shape, "{what}: got {}", buffer.label);
    }

    /// Appends a step.
    pub fn dispatch<B: Bufs>(
        &mut self,
        kernel: impl Into<&'static Kernel>,
        params: B::Params,
        bufs: B,
        grid: [usize; 3],
    ) {
        self.push(kernel.into(), params, bufs, None, grid);
    }

    /// Appends a step that reads a part of a weight matrix.
    pub fn dispatch_weight<B: Bufs>(
        &mut self,
        kernel: impl Into<&'static Kernel>,
        params: B::Params,
        bufs: B,
        weight: &Slab,
        grid: [usize; 3],
    ) {
        self.push(kernel.into(), params, bufs, Some(weight.clone()), grid);
    }

    fn push<B: Bufs>(
        &mut self,
        kernel: &'static Kernel,
        params: B::Params,
        bufs: B,
        weight: Option<Slab>,
        grid: [usize; 3],
    ) {
        let (name, args) = (kernel.name, bufs.in_order());
        assert_eq!(args.len(), kernel.args.len(), "{name}: arguments");
        assert_eq!(weight.is_some(), kernel.weight, "{name}: weight");
        assert_eq!(B::Params::FIELDS, kernel.params, "{name}: params");
        if grid.contains(&0) {
            return; // nothing to do: no rows, no edits
        }
        self.steps.push(Step {
            kernel,
            place: self.place.clone(),
            params: params.words(),
            args,
            weight,
            grid,
        });
    }

    /// Leaves out all steps after the last one of the kernel of this name: nobody wants what they compute.
    pub fn end_after_last(&mut self, kernel: &str) {
        let last = self.steps.iter().rposition(|step| step.kernel.name == kernel);
        self.steps.truncate(last.map_or(0, |last| last + 1));
    }

    /// From the next step on, a run is no longer ended early: those steps change together what outlives the plan.
    pub fn commit(&mut self) {
        self.committed = Some(self.steps.len());
    }

    /// Whether a run may be ended before this step, counted from 0.
    pub fn may_end_before(&self, step: usize) -> bool {
        self.committed.is_none_or(|committed| step <= committed)
    }

    /// All buffers, in the order of their making.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// All steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl Step {
    /// The buffer of an argument.
    ///
    /// # Panics
    /// If the kernel has no argument of this name.
    pub fn arg(&self, name: &str) -> Buf {
        let found = self.kernel.args.iter().zip(&self.args).find(|(arg, _)| arg.name == name);
        *found.unwrap_or_else(|| panic!("{} has no {name}", self.kernel.name)).1
    }

    /// Floating-point operations of its weight product: two for each weight and row of its input.
    pub fn operations(&self, plan: &Plan) -> u64 {
        let (Some(slab), Some(input)) = (&self.weight, self.args.first()) else { return 0 };
        let rows = plan.buffers[input.0].shape[0];
        2 * (rows * slab.rows * slab.cols) as u64
    }
}

impl Plan {
    /// Floating-point operations of all weight products.
    pub fn operations(&self) -> u64 {
        self.steps.iter().map(|step| step.operations(self)).sum()
    }

    /// Bytes that steps must move at the least: every weight, and every buffer that is not a tensor, once a step.
    pub fn bytes(&self) -> u64 {
        let moved = |buf: &Buf| match self.buffers[buf.0].source {
            Source::Tensor(_) => 0,
            Source::Scratch | Source::Kept => 4 * self.buffers[buf.0].len() as u64,
        };
        let step = |step: &Step| {
            step.args.iter().map(moved).sum::<u64>() + step.weight.as_ref().map_or(0, Slab::bytes)
        };
        self.steps.iter().map(step).sum()
    }

    /// The same plan with nothing but its weight products, for measuring: they work on whatever is in their buffers.
    #[must_use]
    pub fn weights_only(&self) -> Plan {
        let mut plan = Plan::new(format!("{}, weights only", self.name));
        plan.buffers = self.buffers.iter().map(Buffer::kept).collect();
        plan.steps = self.steps.iter().filter(|step| step.weight.is_some()).cloned().collect();
        plan
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = assign_slots(self);
        let bytes = 4 * slots.sizes.iter().sum::<usize>();
        writeln!(
            f,
            "plan {}  buffers {}, {} kB scratch",
            self.name,
            self.buffers.len(),
            bytes.div_ceil(1000)
        )?;
        for (number, step) in self.steps.iter().enumerate() {
            write!(f, "{number:4}  {:8}  ", step.place)?;
            self.fmt_step(f, step)?;
        }
        Ok(())
    }
}

impl Plan {
    fn fmt_step(&self, f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
        let pairs =
            || step.args.iter().zip(step.kernel.args).map(|(buf, arg)| (&self.buffers[buf.0], arg.role));
        let outs = pairs().filter(|(_, role)| *role != Role::In);
        let outs: Vec<String> = outs.map(|(b, _)| format!("{} {:?}", b.label, b.shape)).collect();
        let ins = pairs().filter(|(_, role)| *role != Role::Out).map(|(b, _)| b.label.clone());
        let weight =
            step.weight.iter().map(|s| format!("{}: {} [{}, {}]", s.label, s.format.name, s.rows, s.cols));
        let ins: Vec<String> = weight.chain(ins).collect();
        writeln!(f, "{} = {}({})", outs.join(", "), step.kernel.name, ins.join(", "))
    }
}
