//! The CPU's side: a step is its kernel's twin, called.

use super::{Call, Tensor};
use crate::plan::Step;

pub(super) fn run(step: &Step, tensors: &[Tensor]) {
    (step.kernel.twin)(&Call { step, tensors });
}
