//! Where hidden states can be reached, and by whom.

use crate::dims::Dims;
use crate::plan::{Buf, Plan};

/// A point in a layer, named as pyvene names it, in the order in which a pass meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The residual stream before the layer.
    BlockInput,
    /// Its norm, which attention reads.
    AttentionInput,
    /// The queries of all heads, before they are turned by position.
    QueryOutput,
    /// The keys of all heads, before they are turned by position.
    KeyOutput,
    /// The values of all heads.
    ValueOutput,
    /// What the heads give, one beside the other, before they are put together.
    AttentionValueOutput,
    /// What attention adds to the residual stream.
    AttentionOutput,
    /// The norm that the feed-forward layer reads.
    MlpInput,
    /// The gate before its function; not pyvene's.
    GateOutput,
    /// What the gate lets through; not pyvene's.
    UpOutput,
    /// The gate after its function.
    MlpActivation,
    /// What the feed-forward layer adds to the residual stream.
    MlpOutput,
    /// The residual stream after the layer.
    BlockOutput,
}

/// The columns of a buffer that a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first of them.
    pub first: usize,
    /// How many.
    pub width: usize,
}

impl Component {
    /// Every component there is.
    pub const ALL: [Component; 13] = [
        Component::BlockInput,
        Component::AttentionInput,
        Component::QueryOutput,
        Component::KeyOutput,
        Component::ValueOutput,
        Component::AttentionValueOutput,
        Component::AttentionOutput,
        Component::MlpInput,
        Component::GateOutput,
        Component::UpOutput,
        Component::MlpActivation,
        Component::MlpOutput,
        Component::BlockOutput,
    ];

    /// pyvene's name.
    pub fn name(self) -> &'static str {
        match self {
            Component::BlockInput => "block_input",
            Component::AttentionInput => "attention_input",
            Component::QueryOutput => "query_output",
            Component::KeyOutput => "key_output",
            Component::ValueOutput => "value_output",
            Component::AttentionValueOutput => "attention_value_output",
            Component::AttentionOutput => "attention_output",
            Component::MlpInput => "mlp_input",
            Component::GateOutput => "gate_output",
            Component::UpOutput => "up_output",
            Component::MlpActivation => "mlp_activation",
            Component::MlpOutput => "mlp_output",
            Component::BlockOutput => "block_output",
        }
    }

    /// Which columns it is of the buffer that a pass has it in: q, k and v are one buffer, and so are gate and up.
    pub fn window(self, dims: &Dims) -> Window {
        let (q, kv) = (dims.q_width(), dims.kv_width());
        let (first, width) = match self {
            Component::QueryOutput | Component::AttentionValueOutput => (0, q),
            Component::KeyOutput => (q, kv),
            Component::ValueOutput => (q + kv, kv),
            Component::GateOutput | Component::MlpActivation => (0, dims.n_ff),
            Component::UpOutput => (dims.n_ff, dims.n_ff),
            _ => (0, dims.n_embd),
        };
        Window { first, width }
    }

    /// How many heads it is made of, where it is made of heads.
    pub fn heads(self, dims: &Dims) -> Option<usize> {
        match self {
            Component::QueryOutput | Component::AttentionValueOutput => Some(dims.n_head),
            Component::KeyOutput | Component::ValueOutput => Some(dims.n_head_kv),
            _ => None,
        }
    }

    /// The width of what it is made from, where it is a matrix's or a sublayer's output.
    pub fn input_width(self, dims: &Dims, input: Input) -> Option<usize> {
        match (input, self) {
            (Input::Sublayer, Component::AttentionOutput | Component::MlpOutput) => Some(dims.n_embd),
            (Input::Sublayer, _) => None,
            (Input::Matrix, component) => component.matrix_input_width(dims),
        }
    }

    fn matrix_input_width(self, dims: &Dims) -> Option<usize> {
        match self {
            Component::QueryOutput | Component::KeyOutput | Component::ValueOutput => Some(dims.n_embd),
            Component::GateOutput | Component::UpOutput => Some(dims.n_embd),
            Component::AttentionOutput => Some(dims.q_width()),
            Component::MlpOutput => Some(dims.n_ff),
            _ => None,
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

/// Whose input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// That of the matrix whose output something is.
    Matrix,
    /// That of the sublayer, attention or feed-forward layer, whose output something is.
    Sublayer,
}

/// What the columns at a place are made from, where they are somebody's output.
#[derive(Clone, Copy, Default)]
pub struct Inputs {
    /// What the matrix is put on.
    pub matrix: Option<Buf>,
    /// What the sublayer reads.
    pub sublayer: Option<Buf>,
    /// The row that is added to the matrix's output.
    pub bias: Option<Buf>,
}

impl Inputs {
    /// A matrix's input.
    pub fn of_matrix(x: Buf) -> Inputs {
        Inputs { matrix: Some(x), ..Inputs::default() }
    }
}

/// Whoever edits hidden states on their way up, and their gradients on the way down.
pub trait Hooks {
    /// Whether anything is done at this place.
    fn stands_at(&self, place: Place) -> bool;

    /// The lowest place at which anything is done that has a gradient: it goes no further. None for those who only look.
    fn lowest(&self) -> Option<Place> {
        None
    }

    /// Edits the place's columns of `h` [T, S] in place; `inputs` are what they are made from.
    fn edit(&mut self, plan: &mut Plan, place: Place, h: Buf, inputs: Inputs);

    /// Takes the gradient of the edited `h` back through the edit, in place.
    fn edit_backward(&mut self, _plan: &mut Plan, _place: Place, _dh: Buf) {}

    /// Adds to the gradient of one of the inputs what comes back from edits that read it; after [`Hooks::edit_backward`].
    fn input_backward(&mut self, _plan: &mut Plan, _place: Place, _input: Input, _dinput: Buf) {}
}

/// Nobody: the model as it is.
pub struct NoHooks;

impl Hooks for NoHooks {
    fn stands_at(&self, _: Place) -> bool {
        false
    }

    fn edit(&mut self, _: &mut Plan, _: Place, _: Buf, _: Inputs) {}
}
