//! A bottleneck after a sublayer (Houlsby et al. 2019, arXiv:1902.00751): what the sublayer adds to the stream, y, is changed by a small
//! network of its own.
//!
//! Trained are W [R, D], b `[R]` and P [R, D], which starts at 0; the paper's second bias is left out.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static SERIES_ADAPTER: Kind = Kind {
    name: "series_adapter",
    equation: "y + alpha/rank · Pᵀ·act(W·y + b)",
    class: "Houlsby et al. 2019",
    usual: Usual {
        components: &["attention_output", "mlp_output"],
        positions: "all",
        act: "relu",
        ..Usual::REFT
    },
    function: Function::LowRank {
        projection: Projection::FromZero,
        learned: Learned::State,
        bias: true,
        subtracts: false,
    },
};
