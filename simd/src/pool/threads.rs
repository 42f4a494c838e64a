//! The caller's thread, and those of rayon that help it.

use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone)]
pub(super) struct Threads {
    /// One fewer than there are threads; none where there is only the caller's.
    helpers: Option<Arc<rayon::ThreadPool>>,
}

impl Threads {
    /// Where no more can be started the caller's own is the only one.
    pub(super) fn new(count: usize) -> Threads {
        let count =
            if count == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { count };
        let start = || rayon::ThreadPoolBuilder::new().num_threads(count - 1).build().ok();
        Threads { helpers: (count > 1).then(start).flatten().map(Arc::new) }
    }

    pub(super) fn count(&self) -> usize {
        1 + self.helpers.as_ref().map_or(0, |helpers| helpers.current_num_threads())
    }

    /// Calls `f` with each item: every thread takes the next one until none is left.
    pub(super) fn each<T>(&self, items: impl Iterator<Item = T> + Send, f: impl Fn(T) + Sync) {
        let Some(helpers) = &self.helpers else { return items.for_each(f) };
        let items = Mutex::new(items);
        let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(item) = next() {
                f(item);
            }
        };
        helpers.in_place_scope(|scope| {
            (0..helpers.current_num_threads()).for_each(|_| scope.spawn(|_| work()));
            work();
        });
    }
}
