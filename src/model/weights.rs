//! A model's weights: what its files must hold.

use std::collections::HashSet;

use super::loader::{Loader, Turned, format_on_device};
use super::{Architecture, Biases, Norms, QkGroups};
use crate::backend::Backend;
use crate::bytes::ByteSource;
use crate::dims::Dims;
use crate::error::{Error, Faults, Result};
use crate::gguf::{Header, Origin};
use crate::plan::Matrix;
use crate::quant::{self, Format};
use crate::tensor::Tensor;

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// What is under way.
    pub phase: LoadPhase,
    /// What is done of it: bytes of the file's tensors, or thousandths of the other phases.
    pub loaded: u64,
    /// What there is to do in all.
    pub total: u64,
}

/// A part of loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPhase {
    /// Weights are read, repacked and uploaded.
    Weights,
    /// The model's kernels are compiled for a GPU.
    Compile,
    /// A GPU is compared with the CPU.
    Check,
}

impl LoadPhase {
    /// The name in JavaScript.
    pub fn name(self) -> &'static str {
        match self {
            LoadPhase::Weights => "weights",
            LoadPhase::Compile => "compile",
            LoadPhase::Check => "check",
        }
    }
}

pub(super) struct Layer {
    pub(super) attn_norm: Option<Tensor>,
    /// q, k and v, one above the other.
    pub(super) qkv: Matrix,
    pub(super) qkv_bias: Option<Tensor>,
    /// That of queries, then that of keys.
    pub(super) qk_norm: Option<Tensor>,
    pub(super) attn_out: Matrix,
    pub(super) attn_out_bias: Option<Tensor>,
    pub(super) attn_post_norm: Option<Tensor>,
    pub(super) ffn_norm: Option<Tensor>,
    /// gate and up, one above the other.
    pub(super) gate_up: Matrix,
    pub(super) gate_up_bias: Option<Tensor>,
    pub(super) down: Matrix,
    pub(super) down_bias: Option<Tensor>,
    pub(super) ffn_post_norm: Option<Tensor>,
}

impl Layer {
    pub(super) fn has_biases(&self) -> bool {
        let biases = [&self.qkv_bias, &self.attn_out_bias, &self.gate_up_bias, &self.down_bias];
        biases.into_iter().any(Option::is_some)
    }
}

pub(super) struct Weights {
    pub(super) embed: Matrix,
    pub(super) layers: Vec<Layer>,
    pub(super) out_norm: Tensor,
    /// The embedding again where the file has no output matrix.
    pub(super) head: Matrix,
    /// Half of the SHA-256 of the dims and of all vectors, in hexadecimal: F32 in every quantization of a model.
    pub(super) fingerprint: String,
    /// What rotary frequencies are divided by, one for each pair.
    pub(super) rope_factors: Option<Vec<f32>>,
}

/// A weight the architecture has: some rows of numbers that are one on the device, or some matrices.
pub(super) enum Wanted {
    Vector(Vec<Numbers>),
    Matrix { names: Vec<String>, rows: Vec<usize>, cols: usize, turned: Vec<Option<Turned>> },
}

/// A row of numbers.
pub(super) struct Numbers {
    pub(super) name: String,
    pub(super) len: usize,
    pub(super) turned: Option<Turned>,
    /// Whether no tensor has them, and they are zeros.
    pub(super) zeros: bool,
}

impl Numbers {
    fn new(name: impl Into<String>, len: usize) -> Numbers {
        Numbers { name: name.into(), len, turned: None, zeros: false }
    }
}

impl Wanted {
    pub(super) fn first_name(&self) -> &str {
        match self {
            Wanted::Vector(parts) => &parts[0].name,
            Wanted::Matrix { names, .. } => &names[0],
        }
    }

    fn vector(name: impl Into<String>, len: usize) -> Wanted {
        Wanted::Vector(vec![Numbers::new(name, len)])
    }

    /// Names and shapes of the tensors that must be there.
    fn tensors(&self) -> Vec<(&str, Vec<usize>)> {
        match self {
            Wanted::Vector(parts) => {
                let stored = parts.iter().filter(|part| !part.zeros);
                stored.map(|part| (part.name.as_str(), vec![part.len])).collect()
            }
            Wanted::Matrix { names, rows, cols, .. } => {
                names.iter().zip(rows).map(|(name, rows)| (name.as_str(), vec![*rows, *cols])).collect()
            }
        }
    }

    fn matrix(name: impl Into<String>, rows: usize, cols: usize) -> Wanted {
        Wanted::Matrix { names: vec![name.into()], rows: vec![rows], cols, turned: vec![None] }
    }
}

/// Everything a layer of this architecture has.
struct WantedLayer {
    attn_norm: Option<Wanted>,
    qkv: Wanted,
    qkv_bias: Option<Wanted>,
    qk_norm: Option<Wanted>,
    attn_out: Wanted,
    attn_out_bias: Option<Wanted>,
    attn_post_norm: Option<Wanted>,
    ffn_norm: Option<Wanted>,
    gate_up: Wanted,
    gate_up_bias: Option<Wanted>,
    down: Wanted,
    down_bias: Option<Wanted>,
    ffn_post_norm: Option<Wanted>,
}

/// The biases of matrices that are one on the device, if any of them has one; those without have zeros. Each is given as its matrix's name,
/// its length and its order. A repository's biases are those that its configuration says, which was checked.
fn wanted_bias(
    number: usize,
    header: &Header,
    arch: &Architecture,
    parts: &[(&str, usize, Option<Turned>)],
) -> Option<Wanted> {
    let has_bias = |stem: &str, name: &str| match (header.origin, arch.biases) {
        (Origin::HuggingFace, _) => header.tensor(name).is_some(),
        (_, Biases::Optional(stems)) => stems.contains(&stem) && header.tensor(name).is_some(),
        (_, Biases::Required(stems)) => stems.contains(&stem),
    };
    let numbers = parts.iter().map(|(stem, len, turned)| {
        let name = format!("blk.{number}.{stem}.bias");
        Numbers { zeros: !has_bias(stem, &name), turned: *turned, ..Numbers::new(name, *len) }
    });
    let numbers: Vec<Numbers> = numbers.collect();
    numbers.iter().any(|part| !part.zeros).then_some(Wanted::Vector(numbers))
}

fn wanted_layer(number: usize, dims: &Dims, arch: &Architecture, header: &Header) -> WantedLayer {
    let name = |stem: &str, kind: &str| format!("blk.{number}.{stem}.{kind}");
    let names = |stems: &[&str], kind: &str| stems.iter().map(|stem| name(stem, kind)).collect();
    let norm = |stem: &str, wanted: bool| wanted.then(|| Wanted::vector(name(stem, "weight"), dims.n_embd));
    let (before, after) = (arch.norms != Norms::After, arch.norms != Norms::Before);
    let stems = ["attn_q", "attn_k", "attn_v"];
    let qkv_rows = vec![dims.q_width(), dims.kv_width(), dims.kv_width()];
    let qk_lens = match arch.qk_norm {
        Some(QkGroups::All) => vec![dims.q_width(), dims.kv_width()],
        _ => vec![dims.head_dim; 2],
    };
    let apart = Turned { head_dim: dims.head_dim, n_rot: dims.n_rot };
    let turned = (header.origin != Origin::HuggingFace && !arch.rope_halves).then_some(apart);
    let bias = |parts: &[(&str, usize, Option<Turned>)]| wanted_bias(number, header, arch, parts);
    let (qkv, gate_up) = match arch.fused {
        true => (
            Wanted::matrix(name("attn_qkv", "weight"), qkv_rows.iter().sum(), dims.n_embd),
            Wanted::matrix(name("ffn_up", "weight"), 2 * dims.n_ff, dims.n_embd),
        ),
        false => (
            Wanted::Matrix {
                names: names(&stems, "weight"),
                rows: qkv_rows,
                cols: dims.n_embd,
                turned: vec![turned, turned, None],
            },
            Wanted::Matrix {
                names: names(&["ffn_gate", "ffn_up"], "weight"),
                rows: vec![dims.n_ff; 2],
                cols: dims.n_embd,
                turned: vec![None; 2],
            },
        ),
    };
    WantedLayer {
        attn_norm: norm("attn_norm", before),
        qkv,
        qkv_bias: bias(&[
            ("attn_q", dims.q_width(), turned),
            ("attn_k", dims.kv_width(), turned),
            ("attn_v", dims.kv_width(), None),
        ]),
        qk_norm: arch.qk_norm.map(|_| {
            let stems = ["attn_q_norm", "attn_k_norm"].into_iter().zip(qk_lens);
            Wanted::Vector(stems.map(|(stem, len)| Numbers::new(name(stem, "weight"), len)).collect())
        }),
        attn_out: Wanted::matrix(name("attn_output", "weight"), dims.n_embd, dims.q_width()),
        attn_out_bias: bias(&[("attn_output", dims.n_embd, None)]),
        attn_post_norm: norm("post_attention_norm", after),
        ffn_norm: norm("ffn_norm", before),
        gate_up,
        gate_up_bias: bias(&[("ffn_gate", dims.n_ff, None), ("ffn_up", dims.n_ff, None)]),
        down: Wanted::matrix(name("ffn_down", "weight"), dims.n_embd, dims.n_ff),
        down_bias: bias(&[("ffn_down", dims.n_embd, None)]),
        ffn_post_norm: norm("post_ffw_norm", after),
    }
}

/// Tensors that a file may have beside the model's own, and why the computation does without them. A star stands for whatever is there.
const HARMLESS: [(&str, &str); 4] = [
    ("blk.*.attn_rot_embd.weight", "rotary frequencies follow from the metadata"),
    ("blk.*.attn_rot_embd", "rotary frequencies follow from the metadata"),
    ("v.*", "reads images; text does not pass it"),
    ("mm.*", "reads images; text does not pass it"),
];

/// Factors of rotary frequencies for a short and for a long context, of which a context takes one.
const FACTORS: [&str; 2] = ["rope_factors_short.weight", "rope_factors_long.weight"];

fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().any(|(pattern, _)| match pattern.split_once('*') {
        Some((start, end)) => name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
        None => name == *pattern,
    })
}

/// The factors of rotary frequencies, if the file has any: some, or some for a short and others for a long context.
fn wanted_factors(header: &Header, dims: &Dims, long: bool) -> Option<Wanted> {
    let by_context = FACTORS[usize::from(long)];
    let is_there = |name: &str| header.tensor(name).is_some() || header.derived.contains_key(name);
    let name = ["rope_freqs.weight", by_context].into_iter().find(|name| is_there(name))?;
    Some(Wanted::vector(name, dims.n_rot / 2))
}

impl WantedLayer {
    fn all(&self) -> impl Iterator<Item = &Wanted> {
        let some = [
            &self.attn_norm,
            &self.qkv_bias,
            &self.qk_norm,
            &self.attn_out_bias,
            &self.attn_post_norm,
            &self.ffn_norm,
            &self.gate_up_bias,
            &self.down_bias,
            &self.ffn_post_norm,
        ];
        let always = [&self.qkv, &self.attn_out, &self.gate_up, &self.down];
        always.into_iter().chain(some.into_iter().flatten())
    }
}

/// Everything a model of this architecture has.
pub(super) struct WantedModel {
    embed: Wanted,
    layers: Vec<WantedLayer>,
    out_norm: Wanted,
    head: Option<Wanted>,
    factors: Option<Wanted>,
}

/// What the file must hold. `long` is whether the context is longer than the original.
pub(super) fn wanted(header: &Header, dims: &Dims, arch: &Architecture, long: bool) -> WantedModel {
    let own_head = header.tensor("output.weight").is_some();
    WantedModel {
        embed: Wanted::matrix("token_embd.weight", dims.n_vocab, dims.n_embd),
        layers: (0..dims.n_layer).map(|number| wanted_layer(number, dims, arch, header)).collect(),
        out_norm: Wanted::vector("output_norm.weight", dims.n_embd),
        head: own_head.then(|| Wanted::matrix("output.weight", dims.n_vocab, dims.n_embd)),
        factors: wanted_factors(header, dims, long),
    }
}

impl WantedModel {
    /// The bytes of all tensors, or one error with everything that is missing, misshapen or in an unknown format.
    pub(super) fn check(&self, header: &Header, quantize: Option<&'static Format>) -> Result<u64> {
        check_all(header, quantize, self.all())
    }

    fn all(&self) -> impl Iterator<Item = &Wanted> {
        let whole = [&self.embed, &self.out_norm].into_iter().chain(&self.head).chain(&self.factors);
        whole.chain(self.layers.iter().flat_map(WantedLayer::all))
    }

    /// Fails on tensors of the file without which the model would be another, naming all of them.
    pub(super) fn check_others(&self, header: &Header, arch: &Architecture) -> Result<()> {
        let used: HashSet<&str> = self.all().flat_map(Wanted::tensors).map(|(name, _)| name).collect();
        let has_factors = FACTORS.iter().any(|name| used.contains(name));
        let mut faults = Faults::default();
        for name in header.tensors.iter().map(|tensor| tensor.name.as_str()) {
            let is_other_factors = has_factors && FACTORS.contains(&name);
            if !used.contains(name) && !is_other_factors && !is_harmless(name) {
                faults.add(Error::unsupported(format!(
                    "tensor {:?} is not supported for {}: the model would be computed without it",
                    header.own_name(name),
                    arch.name
                )));
            }
        }
        faults.check()
    }
}

/// Loads everything, once it is seen to be there.
pub(super) async fn load(
    backend: &Backend,
    (header, files): (&Header, &[impl ByteSource]),
    (dims, arch): (&Dims, &Architecture),
    wanted: WantedModel,
    quantize: Option<&'static Format>,
    on_progress: &mut dyn FnMut(LoadProgress),
) -> Result<Weights> {
    let total = wanted.check(header, quantize)?;
    let WantedModel { embed, layers, out_norm, head, factors } = wanted;
    let norms_add = if header.origin == Origin::HuggingFace && arch.norms_less_one { 1.0 } else { 0.0 };
    let mut loader = Loader::new(backend, header, quantize, norms_add);
    let embed = loader.matrix(&embed)?;
    let loaded = layers.iter().map(|wanted| layer(&mut loader, wanted)).collect::<Result<_>>()?;
    let out_norm = loader.vector(&out_norm)?;
    let head = match &head {
        Some(head) => loader.matrix(head)?,
        None => embed.clone(),
    };
    let factors = factors.map(|factors| loader.numbers(&factors)).transpose()?;
    loader.stream(files, LoadProgress { phase: LoadPhase::Weights, loaded: 0, total }, on_progress).await?;
    let prefix = format!("{} {dims:?}", arch.name);
    let (fingerprint, mut numbers) = loader.finish(&prefix);
    let rope_factors = factors.map(|number| std::mem::take(&mut numbers[number]));
    Ok(Weights { embed, layers: loaded, out_norm, head, fingerprint, rope_factors })
}

/// Finds a layer's weights their places.
fn layer(loader: &mut Loader<'_>, wanted: &WantedLayer) -> Result<Layer> {
    let mut maybe = |wanted: &Option<Wanted>| wanted.as_ref().map(|wanted| loader.vector(wanted)).transpose();
    let [attn_norm, qkv_bias, qk_norm] =
        [maybe(&wanted.attn_norm)?, maybe(&wanted.qkv_bias)?, maybe(&wanted.qk_norm)?];
    let attn_post_norm = maybe(&wanted.attn_post_norm)?;
    let [ffn_norm, ffn_post_norm] = [maybe(&wanted.ffn_norm)?, maybe(&wanted.ffn_post_norm)?];
    let [attn_out_bias, gate_up_bias, down_bias] =
        [maybe(&wanted.attn_out_bias)?, maybe(&wanted.gate_up_bias)?, maybe(&wanted.down_bias)?];
    Ok(Layer {
        attn_norm,
        qkv: loader.matrix(&wanted.qkv)?,
        qkv_bias,
        qk_norm,
        attn_out: loader.matrix(&wanted.attn_out)?,
        attn_out_bias,
        attn_post_norm,
        ffn_norm,
        gate_up: loader.matrix(&wanted.gate_up)?,
        gate_up_bias,
        down: loader.matrix(&wanted.down)?,
        down_bias,
        ffn_post_norm,
    })
}

/// The bytes of all wanted tensors, or one error with everything that is missing, misshapen or in an unknown format.
fn check_all<'a>(
    header: &Header,
    quantize: Option<&'static Format>,
    wanted: impl Iterator<Item = &'a Wanted>,
) -> Result<u64> {
    let (mut bytes, mut faults) = (0, Faults::default());
    for wanted in wanted {
        for (name, shape) in wanted.tensors() {
            bytes += faults.note(check(header, quantize, name, &shape)).unwrap_or(0);
        }
    }
    faults.check()?;
    Ok(bytes)
}

/// The bytes of one tensor in the file.
fn check(header: &Header, quantize: Option<&'static Format>, name: &str, shape: &[usize]) -> Result<u64> {
    let own_name = header.own_name(name);
    let wrong_shape = |got: &[usize]| {
        Err(Error::file(format!("tensor {own_name:?}: expected shape {shape:?}, got {got:?}")))
    };
    if let Some(values) = header.derived.get(name) {
        return if shape == [values.len()] { Ok(0) } else { wrong_shape(&[values.len()]) };
    }
    let info = header.tensor(name).ok_or_else(|| Error::file(format!("tensor {name:?} is missing")))?;
    if info.dims != shape {
        return wrong_shape(&info.dims);
    }
    let stored = quant::format_of(info)?;
    if shape.len() == 2 {
        let format = format_on_device(info, stored, quantize);
        format.check_cols(info.cols()).map_err(|error| error.at(format!("tensor {name:?}")))?;
    }
    Ok(info.bytes)
}
