//! Memory on a machine: words of four bytes under a shape, freed with the last handle.

use super::Backend;
use super::account::Taken;
use super::gpu::{GpuBuffer, GpuReadback, buffer_bytes};
use crate::error::Result;
use crate::plan::{Plan, Source, assign_slots};
use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

/// A handle to memory on a machine. Clones name the same memory.
#[derive(Clone)]
pub struct Tensor(Rc<Inner>);

struct Inner {
    label: String,
    shape: Vec<usize>,
    storage: Storage,
}

enum Storage {
    Cpu(RefCell<Vec<u32>>),
    Gpu(GpuBuffer),
    Tally { _taken: Taken },
}

impl Tensor {
    pub(super) fn new(backend: &Backend, label: String, shape: &[usize]) -> Result<Tensor> {
        let len: usize = shape.iter().product();
        let storage = match backend {
            Backend::Cpu => Storage::Cpu(RefCell::new(vec![0; len])),
            Backend::Gpu(gpu) => Storage::Gpu(gpu.buffer(&label, len)?),
            Backend::Tally(tally) => {
                let bytes = buffer_bytes(&label, len, tally.max_tensor_bytes)?;
                Storage::Tally { _taken: tally.account.take(bytes) }
            }
        };
        Ok(Tensor(Rc::new(Inner { label, shape: shape.to_vec(), storage })))
    }

    /// The name in prints and errors.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// Row-major, last index fastest.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// Whether two handles name the same memory.
    pub fn same_as(&self, other: &Tensor) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Writes words from index `at` on; the next run sees them, the last one does not.
    pub fn write(&self, at: usize, words: &[u32]) {
        match &self.0.storage {
            Storage::Cpu(memory) => memory.borrow_mut()[at..at + words.len()].copy_from_slice(words),
            Storage::Gpu(buffer) => buffer.write(at, words),
            Storage::Tally { .. } => (),
        }
    }

    /// Writes reals from index 0 on.
    pub fn write_f32(&self, values: &[f32]) {
        self.write(0, bytemuck::cast_slice(values));
    }

    /// Takes the content as it is after everything run so far; await it now or later.
    pub fn read(&self) -> Readback {
        match &self.0.storage {
            Storage::Cpu(memory) => Readback(Kind::Cpu(memory.borrow().clone())),
            Storage::Gpu(buffer) => Readback(Kind::Gpu(buffer.read())),
            Storage::Tally { .. } => Readback(Kind::Cpu(vec![0; self.0.shape.iter().product()])),
        }
    }

    /// Returns when everything run so far is done, as a reading of four words shows.
    ///
    /// # Errors
    /// `Device` if the device was lost or reported an error.
    pub async fn sync(&self) -> Result<()> {
        match &self.0.storage {
            Storage::Cpu(_) | Storage::Tally { .. } => Ok(()),
            Storage::Gpu(buffer) => buffer.read_first().words().await.map(|_| ()),
        }
    }

    pub(super) fn gpu_buffer(&self) -> &wgpu::Buffer {
        match &self.0.storage {
            Storage::Gpu(buffer) => buffer.raw(),
            Storage::Cpu(_) | Storage::Tally { .. } => panic!("{}: does not live on the GPU", self.0.label),
        }
    }

    pub(super) fn words(&self) -> Ref<'_, [u32]> {
        Ref::map(self.memory().borrow(), Vec::as_slice)
    }

    pub(super) fn words_mut(&self) -> RefMut<'_, [u32]> {
        RefMut::map(self.memory().borrow_mut(), Vec::as_mut_slice)
    }

    fn memory(&self) -> &RefCell<Vec<u32>> {
        match &self.0.storage {
            Storage::Cpu(memory) => memory,
            Storage::Gpu(_) | Storage::Tally { .. } => panic!("{}: does not live on the CPU", self.0.label),
        }
    }
}

/// A tensor's content on its way to the caller.
pub struct Readback(Kind);

enum Kind {
    Cpu(Vec<u32>),
    Gpu(GpuReadback),
}

impl Readback {
    /// The content as words.
    ///
    /// # Errors
    /// `Device` if the device was lost or reported an error.
    pub async fn words(self) -> Result<Vec<u32>> {
        match self.0 {
            Kind::Cpu(words) => Ok(words),
            Kind::Gpu(readback) => readback.words().await,
        }
    }

    /// The content as reals.
    ///
    /// # Errors
    /// As [`Readback::words`].
    pub async fn f32(self) -> Result<Vec<f32>> {
        Ok(bytemuck::cast_vec(self.words().await?))
    }
}

/// A tensor for each of a plan's buffers; scratch buffers share by slots.
pub(super) fn place_buffers(backend: &Backend, plan: &Plan) -> Result<Vec<Tensor>> {
    let slots = assign_slots(plan);
    let memory = slots.sizes.iter().enumerate();
    let memory: Vec<Tensor> = memory
        .map(|(slot, len)| backend.tensor(format!("scratch {slot}"), &[*len]))
        .collect::<Result<_>>()?;
    let nowhere = backend.tensor("unused", &[0])?;
    let place =
        plan.buffers().iter().zip(&slots.slot_of).map(|(buffer, slot)| match (&buffer.source, slot) {
            (Source::Tensor(tensor), _) => Ok(tensor.clone()),
            (Source::Kept, _) => backend.tensor(&buffer.label, &buffer.shape),
            (Source::Scratch, Some(slot)) => Ok(memory[*slot].clone()),
            (Source::Scratch, None) => Ok(nowhere.clone()),
        });
    place.collect()
}
