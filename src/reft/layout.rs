//! Where the numbers of all interventions lie in the flat buffers.

use super::config::Site;
use super::encoder::Encoder;
use super::kinds::{Encoded, Function};
use super::magnitude::Magnitudes;
use super::{Arithmetic, Params, Part, Sizes};
use crate::kernel::{Detection, Edit, LearnedRows, Magnitude, Mix, Rotation, Scale};
use crate::model::{Model, Window};

/// The flat buffers in the making.
pub(super) struct Layout<'a> {
    model: &'a Model,
    pub(super) params: std::slice::Iter<'a, Params>,
    pub(super) theta: Vec<f32>,
    pub(super) base: Vec<f32>,
    pub(super) encoders: Vec<Encoder>,
    pub(super) magnitudes: Vec<Magnitudes>,
    pub(super) n_rot: usize,
}

impl<'a> Layout<'a> {
    pub(super) fn new(model: &'a Model, params: &'a [Params]) -> Layout<'a> {
        let (theta, base, encoders, magnitudes) = Default::default();
        Layout { model, params: params.iter(), theta, base, encoders, magnitudes, n_rot: 0 }
    }

    /// Appends the next parameters; returns where they begin, and the arithmetic with them.
    pub(super) fn place(&mut self, site: &Site) -> (usize, Arithmetic) {
        let params = self.params.next().expect("checked before");
        let (theta_at, sizes) = (self.theta.len(), &site.sizes);
        let parts = sizes.parts(theta_at);
        parts.iter().for_each(|part| self.theta.extend(params.part(part.name)));
        let at = |name: &str| parts.iter().find(|part| part.name == name).map(|part| part.range.start);
        let (n_embd, first) = (site.window.width, site.window.first);
        let arithmetic = match site.kind.function {
            Function::Mix { keep, gain } => Arithmetic::Mix(Mix { n_embd, first, keep, gain }),
            Function::Scale => Arithmetic::Scale(Scale { n_embd, first, l_at: theta_at }),
            Function::Rows { encoder, .. } => Arithmetic::Rows(self.rows(site, &parts, encoder)),
            Function::LowRank { projection, learned, subtracts, .. } => {
                let rotation = projection.is_orthonormal().then(|| self.rotation(params, sizes, theta_at));
                let edit = Edit {
                    n_embd,
                    n_in: sizes.n_in,
                    first,
                    rank: sizes.rank,
                    learned,
                    act: site.act,
                    subtracts,
                    free: !projection.is_orthonormal(),
                    w_at: at("weight").unwrap_or(theta_at), // not read where there is none
                    b_at: at("bias"),
                    p_at: rotation.map_or(theta_at, |rotation| rotation.r_at),
                    c_at: at("projection_bias").filter(|_| subtracts),
                };
                let magnitude = at("magnitude").map(|m_at| self.magnitude(site, edit, m_at));
                let detection = at("penalty").map(|penalty_at| self.detection(penalty_at));
                Arithmetic::LowRank { edit, rotation, boundary: at("boundary"), magnitude, detection }
            }
        };
        (theta_at, arithmetic)
    }

    fn rows(&mut self, site: &Site, parts: &[Part], encoder: Encoded) -> LearnedRows {
        let (n_embd, first, n_rows) = (site.window.width, site.window.first, site.sizes.n_virtual);
        let (rows_at, row_stride, encoded) = match (encoder, parts) {
            (Encoded::No, _) | (_, [_]) => (parts[0].range.start, parts[0].shape[1], false),
            (Encoded::By(_, act) | Encoded::IfAsked(_, act), [.., bias]) => {
                let (rows_at, width) = (self.n_rot, bias.shape[0]);
                self.encoders.push(Encoder::new(parts, act, rows_at));
                self.n_rot += n_rows * width;
                (rows_at, width, true)
            }
            (_, []) => unreachable!("learned rows have parts"),
        };
        LearnedRows { n_embd, first, n_rows, rows_at, row_stride, encoded }
    }

    fn magnitude(&mut self, site: &Site, edit: Edit, m_at: usize) -> Magnitude {
        let (norms_at, g_at) = (self.base.len(), self.n_rot);
        let scales_at = norms_at + edit.n_embd;
        self.base.resize(scales_at, 0.0); // until the model's weights are asked
        self.base.extend(vec![site.scale; edit.rank]);
        self.n_rot += 2 * edit.n_embd;
        let it = Magnitude { scale: site.scale, m_at, norms_at, scales_at, g_at };
        let matrix = self.model.matrix_at(site.place).expect("it stands at a matrix's output");
        self.magnitudes.push(Magnitudes::new(edit, it, matrix.clone()));
        it
    }

    fn detection(&mut self, penalty_at: usize) -> Detection {
        let peak_at = self.n_rot;
        self.n_rot += 1;
        Detection { penalty_at, peak_at }
    }

    fn rotation(&mut self, params: &Params, sizes: &Sizes, x_at: usize) -> Rotation {
        let (base, map) = params.base.as_ref().expect("checked before").numbers();
        let n_embd = sizes.n_embd;
        let rank = params.projection.len() / n_embd;
        let (base_at, r_at) = (self.base.len(), self.n_rot);
        self.base.extend(base);
        self.n_rot += rank * n_embd;
        Rotation { n_embd, rank, map, base_at, x_at, r_at }
    }
}

/// The same arithmetic with the same parameters at another site.
pub(super) fn moved(owner: &Arithmetic, site: &Site) -> Arithmetic {
    let Window { first, width } = site.window;
    match *owner {
        Arithmetic::LowRank { edit, rotation, boundary, magnitude, detection } => {
            Arithmetic::LowRank { edit: Edit { first, ..edit }, rotation, boundary, magnitude, detection }
        }
        Arithmetic::Mix(mix) => Arithmetic::Mix(Mix { first, ..mix }),
        Arithmetic::Scale(scale) => Arithmetic::Scale(Scale { first, ..scale }),
        Arithmetic::Rows(rows) => {
            let rows_at = rows.rows_at + site.column;
            Arithmetic::Rows(LearnedRows { first, n_embd: width, rows_at, ..rows })
        }
    }
}
