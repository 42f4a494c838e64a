//! The angles of rotary embedding, as a table: cos and sin on GPUs are only as good as their drivers.

use super::Architecture;
use crate::backend::Backend;
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::gguf::Header;
use crate::tensor::Tensor;
use std::f64::consts::TAU;

/// How the angles of a model are stretched beyond the context that it was trained on first. Factors of each frequency, as Llama 3
/// and Phi-3 have them, are a tensor of the file besides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scaling {
    kind: Kind,
    /// What all angles are divided by.
    factor: f64,
    /// What cos and sin are multiplied by.
    gain: f64,
    /// The context before it was stretched, where the file says.
    pub(super) original_ctx: Option<usize>,
    /// The base of frequencies in layers with a window, if it is another.
    window_base: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Every angle alike (Chen et al. 2023, arXiv:2306.15595).
    Linear,
    /// Only angles that turn seldom within the original context (YaRN, Peng et al. 2023, arXiv:2309.00071): between so many turns.
    Yarn { fast: f64, slow: f64 },
}

impl Scaling {
    /// What a file says, by llama.cpp's rules.
    ///
    /// # Errors
    /// `Unsupported` for another way of stretching; `File` for numbers that make no sense.
    pub(super) fn read(header: &Header, arch: &Architecture) -> Result<Scaling> {
        let key = |what: &str| format!("{}.rope.{what}", arch.name);
        let real = |what: &str, usual: f64| {
            let value = header.metadata.get::<f32>(&key(what))?.map_or(usual, f64::from);
            let sound = value > 0.0 && value.is_finite();
            sound.then_some(value).ok_or_else(|| {
                Error::file(format!("metadata {:?}: expected a number above 0, got {value}", key(what)))
            })
        };
        let original_ctx = header.metadata.get::<u32>(&key("scaling.original_context_length"))?;
        let window_base = arch.window_rope_base.map(|base| real("freq_base_swa", base.into())).transpose()?;
        let plain = Scaling {
            kind: Kind::Linear,
            factor: 1.0,
            gain: real("scaling.attn_factor", 1.0)?,
            original_ctx: original_ctx.map(|n| n as usize),
            window_base,
        };
        let factor =
            if header.metadata.has(&key("scaling.factor")) { "scaling.factor" } else { "scale_linear" };
        let name = key("scaling.type");
        match header.metadata.get(&name)?.unwrap_or("linear") {
            "none" | "longrope" => Ok(plain),
            "linear" => Ok(Scaling { factor: real(factor, 1.0)?, ..plain }),
            "yarn" => {
                let (factor, fast, slow) = (
                    real(factor, 1.0)?,
                    real("scaling.yarn_beta_fast", 32.0)?,
                    real("scaling.yarn_beta_slow", 1.0)?,
                );
                let gain = plain.gain * (1.0 + 0.1 * factor.ln());
                Ok(Scaling { kind: Kind::Yarn { fast, slow }, factor, gain, ..plain })
            }
            other => Err(Error::unsupported(format!(
                "metadata {name:?}: rope scaling {other:?} is not supported (supported: none, linear, yarn, longrope)"
            ))),
        }
    }

    /// The angle of each pair at position 1. `factors` divide them, if there are any.
    fn frequencies(&self, dims: &Dims, factors: Option<&[f32]>) -> Vec<f64> {
        let stretched = self.stretched(dims);
        let frequency = |(pair, base): (usize, f64)| {
            let own = factors.map_or(1.0, |factors| f64::from(factors[pair]));
            let part = stretched[pair];
            base / own * (part / self.factor + 1.0 - part)
        };
        frequencies(dims.n_rot, dims.rope_base.into()).enumerate().map(frequency).collect()
    }

    /// For each pair how much of the stretching it takes, 0 to 1.
    fn stretched(&self, dims: &Dims) -> Vec<f64> {
        let Kind::Yarn { fast, slow } = self.kind else { return vec![1.0; dims.n_rot / 2] };
        let (n_rot, ctx) = (dims.n_rot as f64, self.original_ctx.unwrap_or(dims.n_ctx) as f64);
        // The pair, as a real number, that turns so often within the original context.
        let pair = |turns: f64| n_rot * (ctx / (turns * TAU)).ln() / (2.0 * f64::from(dims.rope_base).ln());
        let low = pair(fast).floor().max(0.0);
        let high = pair(slow).ceil().min(n_rot - 1.0);
        (0..dims.n_rot / 2).map(|i| ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0)).collect()
    }

    /// The table of most layers, and that of layers with a window where they have their own.
    pub(super) fn tables(
        &self,
        backend: &Backend,
        dims: &Dims,
        factors: Option<&[f32]>,
        n_ctx: usize,
    ) -> Result<[Tensor; 2]> {
        let all = table(backend, &self.frequencies(dims, factors), self.gain, n_ctx)?;
        let windows = match self.window_base {
            Some(base) => table(backend, &frequencies(dims.n_rot, base).collect::<Vec<_>>(), 1.0, n_ctx)?,
            None => all.clone(),
        };
        Ok([all, windows])
    }
}

/// base^(−2i / n_rot) for each pair i.
fn frequencies(n_rot: usize, base: f64) -> impl Iterator<Item = f64> {
    (0..n_rot / 2).map(move |pair| base.powf(-2.0 * pair as f64 / n_rot as f64))
}

/// cos and sin of position · frequency, times `gain`, [n_ctx, pairs, 2].
fn table(backend: &Backend, frequencies: &[f64], gain: f64, n_ctx: usize) -> Result<Tensor> {
    let mut values = Vec::with_capacity(2 * n_ctx * frequencies.len());
    for position in 0..n_ctx {
        for frequency in frequencies {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            values.extend([(gain * cos) as f32, (gain * sin) as f32]);
        }
    }
    backend.tensor_of("rope_table", &[n_ctx, frequencies.len(), 2], bytemuck::cast_slice(&values))
}

#[cfg(test)]
mod tests {
    use super::Scaling;
    use crate::dims::Dims;
    use crate::error::Result;
    use crate::gguf::testing::Writer;
    use crate::model::ARCHITECTURES;

    /// Those that matter here are Qwen2.5's.
    const DIMS: Dims = Dims {
        n_embd: 512,
        n_layer: 1,
        n_head: 4,
        n_head_kv: 4,
        head_dim: 128,
        n_ff: 512,
        n_vocab: 32,
        n_ctx: 131_072,
        n_rot: 128,
        rope_base: 1e6,
        norm_eps: 1e-6,
    };

    fn read(writer: Writer) -> Result<Scaling> {
        Scaling::read(&writer.header()?, &ARCHITECTURES[0])
    }

    fn check(scaling: &Scaling, want: &[(usize, f64)]) {
        let frequencies = scaling.frequencies(&DIMS, None);
        for (pair, want) in want {
            let got = frequencies[*pair];
            assert!((got - want).abs() <= 1e-6 * want, "pair {pair}: {got} for {want}");
        }
    }

    #[test]
    fn without_scaling_a_pair_turns_as_its_place_says() {
        check(&read(Writer::default()).unwrap(), &[(0, 1.0), (32, 1e-3), (16, 1e6f64.powf(-0.25))]);
    }

    #[test]
    fn linear_scaling_slows_every_pair() {
        let scaling = read(
            Writer::default().str("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 8.0),
        );
        check(&scaling.unwrap(), &[(0, 0.125), (32, 1.25e-4)]);
        check(&read(Writer::default().f32("llama.rope.scale_linear", 2.0)).unwrap(), &[(0, 0.5)]);
    }

    /// The numbers are those of `_compute_yarn_parameters` of Transformers for a factor of 4, in Python.
    #[test]
    fn yarn_slows_pairs_that_turn_seldom() {
        let writer =
            Writer::default().str("llama.rope.scaling.type", "yarn").f32("llama.rope.scaling.factor", 4.0);
        let scaling = read(writer.u32("llama.rope.scaling.original_context_length", 32_768)).unwrap();
        check(
            &scaling,
            &[
                (0, 1.0),
                (23, 0.006978305848598663),
                (24, 0.005375321490790102),
                (31, 0.0008029597275452302),
                (39, 6.490394320837028e-05),
                (40, 4.445698525097307e-05),
                (63, 3.102344401879299e-07),
            ],
        );
        assert!((scaling.gain - 1.138_629_436_111_989).abs() < 1e-9);
    }

    #[test]
    fn another_scaling_and_numbers_without_sense_are_refused() {
        let error =
            read(Writer::default().str("llama.rope.scaling.type", "dynamic")).unwrap_err().to_string();
        let text = "metadata \"llama.rope.scaling.type\": rope scaling \"dynamic\" is not supported (supported: none, linear, yarn, longrope)";
        assert_eq!(error, text);
        for factor in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(read(Writer::default().f32("llama.rope.scaling.factor", factor)).is_err(), "{factor}");
        }
    }
}
