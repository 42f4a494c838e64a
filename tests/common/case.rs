//! A plan on two machines: what its steps write may differ by rounding alone.

use super::{Make, read};
use webreft::backend::Backend;
use webreft::plan::Buffer;

/// A plan to be built alike on both machines, and the roundings on the way to one value of it.
pub(crate) struct Case {
    name: String,
    terms: usize,
    cancels: f32,
    build: Box<dyn Fn(&mut Make<'_>)>,
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        terms: usize,
        build: impl Fn(&mut Make<'_>) + 'static,
    ) -> Case {
        Case { name: name.into(), terms, cancels: 0.0, build: Box::new(build) }
    }

    pub(crate) fn cancelling(self, cancels: f32) -> Case {
        Case { cancels, ..self }
    }

    pub(crate) fn make<'a>(&self, backend: &'a Backend) -> Make<'a> {
        let mut make = Make::new(backend);
        (self.build)(&mut make);
        make
    }

    /// What differs by more than rounding.
    pub(crate) fn differences(&self, machine: &Backend) -> Vec<String> {
        let twins = Backend::twins();
        let (made, twins) = (self.make(machine), self.make(&twins));
        let written = made.written();
        let (machine, twins) = (made.run(), twins.run());
        let mut differences = Vec::new();
        for buf in written {
            let Buffer { label, shape, .. } = &twins.plan().buffers()[buf.index()];
            let (got, want) = (read(&machine, buf), read(&twins, buf));
            let largest = want.iter().fold(self.cancels, |m, x| m.max(x.abs()));
            let allowed = f32::EPSILON * self.terms as f32 * largest;
            let differs = |(got, want): (&f32, &f32)| {
                let off = (got - want).abs();
                got.to_bits() != want.to_bits() && (off.is_nan() || off > allowed)
            };
            let wrong: Vec<usize> = (0..want.len()).filter(|i| differs((&got[*i], &want[*i]))).collect();
            if let Some(&at) = wrong.first() {
                differences.push(format!(
                    "{}: {} of {} values of {label} {shape:?} differ, at {at} {} for {} (allowed {allowed:e})",
                    self.name,
                    wrong.len(),
                    want.len(),
                    got[at],
                    want[at],
                ));
            }
        }
        differences
    }
}
