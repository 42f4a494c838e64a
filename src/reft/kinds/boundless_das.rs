//! Boundless distributed alignment search (Wu et al. 2023, arXiv:2305.08809): how many dimensions are interchanged is learned, too.
//!
//! Trained are X [D, D], from which R [D, D] = B·expm(tril(X) − tril(X)ᵀ) follows, and β, the boundary, a share of the width:
//! mᵢ = σ(i/T)·σ((β·D − i)/T). The temperature T falls from 50 to 0.1 as training goes, and stays where it ends. `rank` says nothing here.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static BOUNDLESS_DAS: Kind = Kind {
    name: "boundless_das",
    equation: "h + Rᵀ(m ∘ (R·s − R·h))",
    class: "pyvene.models.interventions.BoundlessRotatedSpaceIntervention",
    usual: Usual::REFT,
    function: Function::LowRank {
        projection: Projection::Boundless,
        learned: Learned::Source,
        bias: false,
        subtracts: true,
    },
};
