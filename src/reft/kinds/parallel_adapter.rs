//! A bottleneck beside a sublayer (He et al. 2022, arXiv:2110.04366): to what the sublayer makes of its input x, y, a small network of
//! its own adds what it makes of x.
//!
//! Trained are W [R, D], b `[R]` and P [R, D], which starts at 0; the paper's second bias is left out. With `alpha` the edit is scaled.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static PARALLEL_ADAPTER: Kind = Kind {
    name: "parallel_adapter",
    equation: "y + alpha/rank · Pᵀ·act(W·x + b)",
    class: "He et al. 2022",
    usual: Usual { components: &["mlp_output"], positions: "all", act: "relu", ..Usual::REFT },
    function: Function::LowRank {
        projection: Projection::FromZero,
        learned: Learned::SublayerInput,
        bias: true,
        subtracts: false,
    },
};
