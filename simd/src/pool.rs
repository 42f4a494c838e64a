//! The machine: its instruction set, its threads, and memory that functions borrow for intermediate results.

use fearless_simd::Level;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(not(target_arch = "wasm32"))]
mod threads;
#[cfg(target_arch = "wasm32")]
#[path = "pool/one_thread.rs"]
mod threads;

use threads::Threads;

/// An instruction set and threads. Clones share the threads.
#[derive(Clone)]
pub struct Pool {
    level: Level,
    threads: Threads,
    free: Arc<Mutex<Vec<Vec<f32>>>>,
}

impl Default for Pool {
    /// A thread for each core.
    fn default() -> Pool {
        Pool::new(0)
    }
}

/// Buffers that are kept for the next borrower.
const KEPT: usize = 64;

impl Pool {
    /// A pool of so many threads; 0 takes as many as the machine has cores. In a browser there is always one.
    pub fn new(threads: usize) -> Pool {
        Pool { level: Level::new(), threads: Threads::new(threads), free: Arc::default() }
    }

    /// The instruction set.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// The name of the instruction set, for reports.
    pub fn instructions(&self) -> String {
        let name = format!("{:?}", self.level);
        name.split('(').next().unwrap_or_default().to_lowercase()
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// Calls `f` with the number and the content of each chunk of `data`, on all threads.
    pub fn each<T: Send>(&self, data: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
        let is_one = data.len() <= chunk;
        let mut chunks = data.chunks_mut(chunk).enumerate();
        let f = |(number, chunk): (usize, &mut [T])| f(number, chunk);
        if is_one { chunks.next().into_iter().for_each(f) } else { self.threads.each(chunks, f) }
    }

    /// As [`each`](Pool::each), over chunks of two slices at once. Both must have equally many chunks.
    pub fn each2<A: Send, B: Send>(
        &self,
        (a, a_chunk): (&mut [A], usize),
        (b, b_chunk): (&mut [B], usize),
        f: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
    ) {
        assert_eq!(a.len().div_ceil(a_chunk), b.len().div_ceil(b_chunk), "each2: chunks");
        let is_one = a.len() <= a_chunk;
        let mut chunks = a.chunks_mut(a_chunk).zip(b.chunks_mut(b_chunk)).enumerate();
        let f = |(number, (a, b)): (usize, (&mut [A], &mut [B]))| f(number, a, b);
        if is_one { chunks.next().into_iter().for_each(f) } else { self.threads.each(chunks, f) }
    }

    /// Memory for so many values. What is in it does not matter: the last borrower's values, or zeros.
    pub(crate) fn borrow(&self, len: usize) -> Borrowed<'_> {
        let mut memory = self.free().pop().unwrap_or_default();
        if memory.len() < len {
            memory.resize(len, 0.0);
        }
        Borrowed { memory, len, pool: self }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<f32>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory of a [`Pool`], given back when dropped.
pub(crate) struct Borrowed<'a> {
    memory: Vec<f32>,
    len: usize,
    pool: &'a Pool,
}

impl Deref for Borrowed<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Borrowed<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut free = self.pool.free();
        if free.len() < KEPT {
            free.push(std::mem::take(&mut self.memory));
        }
    }
}
