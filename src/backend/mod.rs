//! Who carries a plan out: the CPU with each kernel's fast form or twin, or the GPU with its shader.
//!
//! One program, two machines: everything above this floor is written once, as plans, and every result of the GPU has
//! one of the CPU to be compared with.

mod account;
mod control;
mod cpu;
mod event_loop;
mod fail;
mod gpu;
mod machine;
mod pace;
mod place;
mod readback;
mod tally;

use self::account::{Account, Taken};
use crate::error::Result;
use crate::kernel::{self, Operation, Pool};
use crate::plan::{Buf, Plan, Step};
use crate::tensor::{Readback, Tensor};

pub use control::{Control, NoControl, Part};
pub use cpu::Cpu;
pub use gpu::Gpu;
pub use machine::Machine;
pub use place::Scratch;
pub use tally::Tally;

/// Weights of a slab at most, where a program computes in a browser: a product of a whole batch with it is then over in time for messages.
const SLAB_WEIGHTS: usize = if cfg!(target_arch = "wasm32") { 1 << 19 } else { usize::MAX };

/// A machine that holds tensors and runs plans.
#[derive(Clone)]
pub enum Backend {
    /// Plain Rust, on the CPU.
    Cpu(Cpu),
    /// A device opened through wgpu.
    Gpu(Gpu),
    /// Nobody: tensors are counted, and runs do nothing.
    Tally(Tally),
}

impl Backend {
    /// The CPU, with a thread for each core.
    pub fn cpu() -> Backend {
        Backend::cpu_with(0)
    }

    /// The CPU with so many threads; 0 takes one for each core. In a browser there is always one.
    pub fn cpu_with(threads: usize) -> Backend {
        Backend::Cpu(Cpu::new(Some(Pool::new(threads))))
    }

    /// The CPU with each kernel's twin: clear, slow, and what the other machines are compared with.
    pub fn twins() -> Backend {
        Backend::Cpu(Cpu::new(None))
    }

    /// Opens the best GPU there is.
    ///
    /// # Errors
    /// `Device` if there is no adapter or it gives no device.
    pub async fn gpu() -> Result<Backend> {
        Ok(Backend::Gpu(Gpu::open().await?))
    }

    /// `gpu` or `cpu`, as [`Machine`] names them.
    pub fn kind(&self) -> &'static str {
        match self {
            Backend::Gpu(_) => Machine::Gpu.name(),
            Backend::Cpu(_) | Backend::Tally(_) => Machine::Cpu.name(),
        }
    }

    /// Whether it is a GPU's adapter, but a program on the CPU.
    pub fn is_software(&self) -> bool {
        matches!(self, Backend::Gpu(gpu) if gpu.is_software())
    }

    /// A machine that counts what would be taken on this one, and computes nothing.
    pub fn tally(&self) -> Backend {
        let (max_tensor_bytes, max_slab_weights) = (self.max_tensor_bytes(), self.max_slab_weights());
        Backend::Tally(Tally { max_tensor_bytes, max_slab_weights, account: Account::default() })
    }

    /// Whether tensors have content, and runs do anything.
    pub fn computes(&self) -> bool {
        !matches!(self, Backend::Tally(_))
    }

    /// The machine's name: the CPU's instruction set and threads, or the adapter's.
    pub fn name(&self) -> String {
        match self {
            Backend::Cpu(cpu) => cpu.name(),
            Backend::Gpu(gpu) => gpu.name(),
            Backend::Tally(_) => "tally".to_owned(),
        }
    }

    /// The largest tensor that a kernel can read, in bytes.
    pub fn max_tensor_bytes(&self) -> u64 {
        match self {
            Backend::Cpu(_) => u64::MAX,
            Backend::Gpu(gpu) => gpu.max_tensor_bytes(),
            Backend::Tally(tally) => tally.max_tensor_bytes,
        }
    }

    /// The most weights that one product is made with, so that it does not hold a slow machine for long.
    pub fn max_slab_weights(&self) -> usize {
        match self {
            Backend::Tally(tally) => tally.max_slab_weights,
            Backend::Gpu(gpu) if !gpu.is_software() => usize::MAX,
            Backend::Cpu(_) | Backend::Gpu(_) => SLAB_WEIGHTS,
        }
    }

    /// Bytes that the machine's memory holds at most, where that is known before it is asked for them.
    pub fn max_bytes(&self) -> u64 {
        match self {
            Backend::Cpu(_) => cpu::MAX_BYTES,
            Backend::Gpu(_) | Backend::Tally(_) => u64::MAX,
        }
    }

    /// Bytes of all tensors alive on the machine, and of the parameters of prepared plans' steps on a GPU.
    pub fn memory(&self) -> u64 {
        self.account().now()
    }

    /// Bytes of the buffers that a GPU is read through: they are used again and again.
    pub fn staging_memory(&self) -> u64 {
        match self {
            Backend::Gpu(gpu) => gpu.ring().bytes(),
            Backend::Cpu(_) | Backend::Tally(_) => 0,
        }
    }

    /// Gives these buffers back, but those that are read now.
    pub fn release_staging(&self) {
        if let Backend::Gpu(gpu) = self {
            gpu.ring().release();
        }
    }

    /// Whether the machine was lost, so that its work can be done on another one.
    pub fn is_lost(&self) -> bool {
        matches!(self, Backend::Gpu(gpu) if gpu.is_lost())
    }

    /// Whether the machine is of no more use: it was lost, ran out of memory, or refused a command. Memory on it cannot be read.
    pub fn is_broken(&self) -> bool {
        matches!(self, Backend::Gpu(gpu) if gpu.is_broken())
    }

    fn account(&self) -> &Account {
        match self {
            Backend::Cpu(cpu) => cpu.account(),
            Backend::Gpu(gpu) => gpu.account(),
            Backend::Tally(tally) => &tally.account,
        }
    }

    /// The most bytes that [`memory`](Backend::memory) has told since it began.
    pub fn peak(&self) -> u64 {
        self.account().peak()
    }

    /// Lets the peak begin anew with what is held now.
    pub fn restart_peak(&self) {
        self.account().restart_peak();
    }

    /// Whether the machine has room for so many bytes beside what it holds, as trying to take them shows.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub async fn has_room(&self, bytes: u64) -> Result<bool> {
        match self {
            Backend::Gpu(gpu) => gpu.has_room(bytes).await,
            Backend::Cpu(_) | Backend::Tally(_) => Ok(bytes <= self.max_bytes()),
        }
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// `Device` if it is larger than the device can bind.
    pub fn tensor(&self, label: impl Into<String>, shape: &[usize]) -> Result<Tensor> {
        let label = label.into();
        match self {
            Backend::Cpu(cpu) => cpu.tensor(label, shape),
            Backend::Gpu(gpu) => gpu.tensor(label, shape),
            Backend::Tally(tally) => tally.tensor(label, shape),
        }
    }

    /// A tensor with these words in it.
    ///
    /// # Errors
    /// As [`Backend::tensor`].
    pub fn tensor_of(&self, label: impl Into<String>, shape: &[usize], words: &[u32]) -> Result<Tensor> {
        let tensor = self.tensor(label, shape)?;
        tensor.write(0, words);
        Ok(tensor)
    }

    /// Compiles the kernel of a step, and returns when that is done. Only a GPU has anything to compile.
    ///
    /// # Errors
    /// `Device` if the device refuses the kernel.
    pub async fn compile(&self, step: &Step) -> Result<()> {
        match self {
            Backend::Gpu(gpu) => gpu.compiled(kernel::operation(step.kernel), step.weight.as_ref()).await,
            Backend::Cpu(_) | Backend::Tally(_) => Ok(()),
        }
    }

    /// Gives every buffer of a plan its memory, and compiles what is not compiled yet.
    ///
    /// # Errors
    /// `Device` if a buffer is larger than the device can bind.
    pub fn prepare(&self, plan: Plan) -> Result<Prepared> {
        self.prepare_in(&mut Scratch::default(), plan)
    }

    /// As [`Backend::prepare`], with scratch memory shared with other plans, which must not run at the same time.
    ///
    /// # Errors
    /// As [`Backend::prepare`].
    pub fn prepare_in(&self, scratch: &mut Scratch, plan: Plan) -> Result<Prepared> {
        let tensors = place::place_buffers(self, &plan, scratch)?;
        let operations: Vec<_> = plan.steps().iter().map(|step| kernel::operation(step.kernel)).collect();
        let recorded = match self {
            Backend::Gpu(gpu) => Recorded::Gpu(gpu.record(&plan, &operations, &tensors)),
            Backend::Tally(tally) => Recorded::Tally { _params: tally.record(&plan) },
            Backend::Cpu(_) => Recorded::Cpu,
        };
        Ok(Prepared { backend: self.clone(), plan, operations, tensors, recorded })
    }
}

/// A plan with memory for its buffers, ready to run any number of times.
pub struct Prepared {
    backend: Backend,
    plan: Plan,
    operations: Vec<&'static Operation>,
    tensors: Vec<Tensor>,
    recorded: Recorded,
}

/// What a machine keeps of a plan.
enum Recorded {
    Cpu,
    Gpu(gpu::Recorded),
    Tally { _params: Taken },
}

impl Prepared {
    /// Runs all steps, in order. On a GPU this returns when they are submitted, however many they are, and not when they are done.
    /// This is for small plans, and for measuring: see [`Prepared::run_with`].
    ///
    /// # Errors
    /// `Device` if the device was lost or reported an error.
    pub fn run(&self) -> Result<()> {
        match (&self.backend, &self.recorded) {
            (Backend::Gpu(gpu), Recorded::Gpu(recorded)) => gpu.run(recorded),
            (Backend::Cpu(cpu), _) => cpu.run(&self.plan, &self.operations, &self.tensors),
            _ => Ok(()),
        }
    }

    /// Runs all steps, in order, and reads these tensors as they are after them. On a GPU the steps go into submits of bounded
    /// length, no more than two of which are in flight: this returns when the last one is submitted. `control` is told how far it is,
    /// and may end the run.
    ///
    /// # Errors
    /// `Aborted` if `control` ended it, `Device` if the device was lost or reported an error.
    pub async fn run_with(&self, reads: &[&Tensor], control: &dyn Control) -> Result<Vec<Readback>> {
        match (&self.backend, &self.recorded) {
            (Backend::Gpu(gpu), Recorded::Gpu(recorded)) => {
                return gpu.run_with(&self.plan, recorded, reads, control).await;
            }
            (Backend::Cpu(cpu), _) => {
                cpu.run_with(&self.plan, &self.operations, &self.tensors, control).await?;
            }
            _ => (),
        }
        Ok(reads.iter().map(|tensor| tensor.read()).collect())
    }

    /// The memory of one of the plan's buffers.
    pub fn tensor(&self, buf: Buf) -> &Tensor {
        &self.tensors[buf.index()]
    }

    /// What was run.
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// What is run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
