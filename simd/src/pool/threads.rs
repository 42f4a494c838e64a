//! Threads of rayon.

use rayon::prelude::*;
use std::sync::Arc;

#[derive(Clone)]
pub(super) struct Threads {
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Threads {
    /// One thread is the caller's own. So is the only one where no more can be started.
    pub(super) fn new(count: usize) -> Threads {
        let count =
            if count == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { count };
        let pool = (count > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(count).build().ok());
        Threads { pool: pool.flatten().map(Arc::new) }
    }

    pub(super) fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    pub(super) fn each<T: Send>(
        &self,
        data: &mut [T],
        chunk: usize,
        f: impl Fn(usize, &mut [T]) + Sync + Send,
    ) {
        match &self.pool {
            Some(pool) => {
                pool.install(|| data.par_chunks_mut(chunk).enumerate().for_each(|(i, data)| f(i, data)));
            }
            None => data.chunks_mut(chunk).enumerate().for_each(|(i, data)| f(i, data)),
        }
    }

    pub(super) fn each2<A: Send, B: Send>(
        &self,
        (a, a_chunk): (&mut [A], usize),
        (b, b_chunk): (&mut [B], usize),
        f: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
    ) {
        match &self.pool {
            Some(pool) => pool.install(|| {
                let chunks = a.par_chunks_mut(a_chunk).zip(b.par_chunks_mut(b_chunk));
                chunks.enumerate().for_each(|(i, (a, b))| f(i, a, b));
            }),
            None => {
                let chunks = a.chunks_mut(a_chunk).zip(b.chunks_mut(b_chunk));
                chunks.enumerate().for_each(|(i, (a, b))| f(i, a, b));
            }
        }
    }
}
