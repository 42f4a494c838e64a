//! The only thread of a worker in a browser.

#[derive(Clone)]
pub(super) struct Threads;

impl Threads {
    pub(super) fn new(_count: usize) -> Threads {
        Threads
    }

    pub(super) fn count(&self) -> usize {
        1
    }

    pub(super) fn each<T>(&self, data: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T])) {
        data.chunks_mut(chunk).enumerate().for_each(|(i, data)| f(i, data));
    }

    pub(super) fn each2<A, B>(
        &self,
        (a, a_chunk): (&mut [A], usize),
        (b, b_chunk): (&mut [B], usize),
        f: impl Fn(usize, &mut [A], &mut [B]),
    ) {
        let chunks = a.chunks_mut(a_chunk).zip(b.chunks_mut(b_chunk));
        chunks.enumerate().for_each(|(i, (a, b))| f(i, a, b));
    }
}
