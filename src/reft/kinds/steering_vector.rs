//! A steering vector: one direction is added to every token's hidden state (arXiv:2312.06681; AxBench's `SteeringVector`).
//!
//! It is found from contrast pairs (`Engine::steer`), read from llama.cpp's control vectors, or trained: P [1, D] from 0 on, and b `[1]`.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static STEERING_VECTOR: Kind = Kind {
    name: "steering_vector",
    equation: "h + Pᵀ·b",
    class: "axbench.models.SteeringVector",
    usual: Usual { positions: "all", ..Usual::REFT },
    function: Function::LowRank {
        projection: Projection::FromZero,
        learned: Learned::Bias,
        bias: true,
        subtracts: false,
    },
};
