//! Reading the GPU's memory: copies into staging buffers, which are used again and again.

use super::account::{Account, Taken};
use super::gpu::Gpu;
use crate::clock;
use crate::error::Result;
use crate::tensor::{Content, Readback};
use futures_channel::oneshot;
use std::cell::RefCell;
use std::ops::Range;

/// Staging buffers that wait for the next copy, at most.
const MOST_KEPT: usize = 8;

/// The largest staging buffer that is kept, in bytes: losses and tokens are small, parameters are read once.
const LARGEST_KEPT: u64 = 1 << 20;

/// Staging buffers that nothing is copied to now, and the bytes of all there are.
#[derive(Default)]
pub(super) struct Ring {
    kept: RefCell<Vec<Staging>>,
    account: Account,
}

/// A buffer that is read from.
struct Staging {
    raw: wgpu::Buffer,
    _taken: Taken,
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.raw.destroy(); // a browser would wait for its garbage collector
    }
}

impl Ring {
    /// Bytes of all staging buffers.
    pub(super) fn bytes(&self) -> u64 {
        self.account.now()
    }

    /// Gives back what waits for the next copy.
    pub(super) fn release(&self) {
        self.kept.borrow_mut().clear();
    }

    /// A buffer of at least `size` bytes.
    fn take(&self, gpu: &Gpu, size: u64) -> Staging {
        let mut kept = self.kept.borrow_mut();
        let fitting =
            (0..kept.len()).filter(|i| kept[*i].raw.size() >= size).min_by_key(|i| kept[*i].raw.size());
        if let Some(i) = fitting {
            return kept.swap_remove(i);
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let size = size.next_power_of_two().max(256);
        Staging { raw: gpu.create_buffer("readback", size, usage), _taken: self.account.take(size) }
    }

    /// Keeps a buffer that is no longer mapped.
    fn put(&self, buffer: Staging) {
        let mut kept = self.kept.borrow_mut();
        if buffer.raw.size() <= LARGEST_KEPT && kept.len() < MOST_KEPT {
            kept.push(buffer);
        }
    }
}

/// A copy that is encoded, and not submitted.
pub(super) struct Encoded {
    staging: Staging,
    size: u64,
}

impl Encoded {
    /// Copies some words of a buffer.
    pub(super) fn copy(
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        from: &wgpu::Buffer,
        words: Range<usize>,
    ) -> Encoded {
        let [start, end] = [words.start, words.end].map(|word| 4 * word as u64);
        let size = end - start;
        let staging = gpu.ring().take(gpu, size);
        encoder.copy_buffer_to_buffer(from, start, &staging.raw, 0, size);
        Encoded { staging, size }
    }

    /// The content, which arrives when this submit is done.
    pub(super) fn submitted(self, gpu: &Gpu, submit: wgpu::SubmissionIndex) -> Readback {
        let Encoded { staging, size } = self;
        if size == 0 {
            return Readback::ready(Vec::new());
        }
        let (sender, mapped) = oneshot::channel();
        staging.raw.map_async(wgpu::MapMode::Read, ..size, move |result| {
            let _ = sender.send((result, clock::seconds())); // the reader may be gone
        });
        let copy = Copy { staging, size, mapped, submit, gpu: gpu.clone() };
        Readback::new(copy.content())
    }
}

/// A copy on its way from the device.
struct Copy {
    staging: Staging,
    size: u64,
    /// The buffer is mapped, or why not, and when.
    mapped: oneshot::Receiver<(std::result::Result<(), wgpu::BufferAsyncError>, f64)>,
    submit: wgpu::SubmissionIndex,
    gpu: Gpu,
}

impl Copy {
    async fn content(self) -> Result<Content> {
        // Natively this waits for the submit with the copy, and not for those after it; in a browser awaiting waits.
        let polled = self.gpu.wait(&self.submit);
        let mapped = self.mapped.await;
        self.gpu.check()?;
        polled?;
        let (mapped, at) = mapped.map_err(|_| self.gpu.drop_readback("it was dropped"))?;
        mapped.map_err(|error| self.gpu.drop_readback(&error.to_string()))?;
        let view = self.staging.raw.get_mapped_range(..self.size);
        let view = view.map_err(|error| self.gpu.drop_readback(&error.to_string()))?;
        let words = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        self.staging.raw.unmap();
        self.gpu.ring().put(self.staging);
        Ok(Content { words, at })
    }
}
