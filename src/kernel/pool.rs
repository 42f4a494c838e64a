//! Who computes fast forms.

/// The threads of a CPU. It has none of its own yet.
#[derive(Clone, Debug, Default)]
pub struct Pool;
