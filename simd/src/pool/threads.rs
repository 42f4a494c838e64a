//! The caller's thread, and those of rayon that help it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Looks at whether others have ended, before their end is slept for: about 100 µs.
const SPINS: usize = 2000;

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
        let busy = AtomicUsize::new(helpers.current_num_threads());
        helpers.in_place_scope(|scope| {
            for _ in 0..helpers.current_num_threads() {
                scope.spawn(|_| {
                    work();
                    busy.fetch_sub(1, Ordering::Release);
                });
            }
            work();
            // The others are about to end: to be woken would take longer.
            (0..SPINS).take_while(|_| busy.load(Ordering::Acquire) > 0).for_each(|_| std::hint::spin_loop());
        });
    }
}
