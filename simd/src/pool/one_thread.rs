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

    pub(super) fn each<T>(&self, items: impl Iterator<Item = T>, f: impl Fn(T)) {
        items.for_each(f);
    }
}
