//! Where hidden states can be reached, and by whom.

use crate::plan::{Buf, Plan};

/// A point in a layer, named as pyvene names it, in the order in which a pass meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// What attention adds to the residual stream.
    AttentionOutput,
    /// What the feed-forward layer adds to the residual stream.
    MlpOutput,
    /// The residual stream after the layer.
    BlockOutput,
}

impl Component {
    /// Every component there is.
    pub const ALL: [Component; 3] =
        [Component::AttentionOutput, Component::MlpOutput, Component::BlockOutput];

    /// pyvene's name.
    pub fn name(self) -> &'static str {
        match self {
            Component::AttentionOutput => "attention_output",
            Component::MlpOutput => "mlp_output",
            Component::BlockOutput => "block_output",
        }
    }
}

/// A component of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Counted from 0.
    pub layer: usize,
    /// The point in it.
    pub component: Component,
}

/// Whoever edits hidden states on their way up, and their gradients on the way down.
pub trait Hooks {
    /// Whether anything is done at this place.
    fn stands_at(&self, place: Place) -> bool;

    /// The lowest place at which anything is done: a gradient goes no further.
    fn lowest(&self) -> Option<Place>;

    /// Edits `h` [T, D] in place.
    fn edit(&mut self, plan: &mut Plan, place: Place, h: Buf);

    /// Takes the gradient of the edited `h` back through the edit, in place.
    fn edit_backward(&mut self, plan: &mut Plan, place: Place, dh: Buf);
}

/// Nobody: the model as it is.
pub struct NoHooks;

impl Hooks for NoHooks {
    fn stands_at(&self, _: Place) -> bool {
        false
    }

    fn lowest(&self) -> Option<Place> {
        None
    }

    fn edit(&mut self, _: &mut Plan, _: Place, _: Buf) {}

    fn edit_backward(&mut self, _: &mut Plan, _: Place, _: Buf) {}
}
