//! A model's weights: what the file must hold, and its way onto the device, a piece of a tensor at a time.

use super::{Architecture, Norms, QkGroups};
use crate::backend::{Backend, Tensor};
use crate::bytes::ByteSource;
use crate::dims::Dims;
use crate::error::{Error, Faults, Result};
use crate::gguf::{Header, TensorInfo};
use crate::plan::{Matrix, Slab};
use crate::quant::{self, Format};
use sha2::{Digest, Sha256};

/// Bytes of the file held at once while loading.
const PIECE_BYTES: u64 = 2 << 20;

/// How far loading has come, in bytes of the file's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes on the device.
    pub loaded: u64,
    /// Bytes in all.
    pub total: u64,
}

pub(super) struct Layer {
    pub(super) attn_norm: Option<Tensor>,
    /// q, k and v, one above the other.
    pub(super) qkv: Matrix,
    pub(super) qkv_bias: Option<Tensor>,
    /// That of queries, then that of keys.
    pub(super) qk_norm: Option<Tensor>,
    pub(super) attn_out: Matrix,
    pub(super) attn_post_norm: Option<Tensor>,
    pub(super) ffn_norm: Option<Tensor>,
    /// gate and up, one above the other.
    pub(super) gate_up: Matrix,
    pub(super) down: Matrix,
    pub(super) ffn_post_norm: Option<Tensor>,
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

/// A weight the architecture has: a row of numbers, or some matrices that are one on the device.
enum Wanted {
    Vector { names: Vec<String>, lens: Vec<usize> },
    Matrix { names: Vec<String>, rows: Vec<usize>, cols: usize, turned: Vec<Option<Turned>> },
}

/// A matrix whose outputs are heads that are turned by position, with pairs that are neighbours in the file. In memory their
/// first and their second values stand apart, as in Hugging Face's files, so that hidden states have the same order everywhere.
#[derive(Clone, Copy)]
struct Turned {
    head_dim: usize,
    n_rot: usize,
}

impl Turned {
    /// Puts the rows of whole heads into order.
    fn sort(self, bytes: &[u8], row_bytes: usize) -> Vec<u8> {
        let half = self.n_rot / 2;
        let from = |row: usize| match row {
            row if row < half => 2 * row,
            row if row < self.n_rot => 2 * (row - half) + 1,
            row => row,
        };
        let heads = bytes.chunks_exact(self.head_dim * row_bytes);
        let rows = heads
            .flat_map(|head| (0..self.head_dim).map(move |row| &head[from(row) * row_bytes..][..row_bytes]));
        rows.flatten().copied().collect()
    }
}

impl Wanted {
    fn vector(name: impl Into<String>, len: usize) -> Wanted {
        Wanted::Vector { names: vec![name.into()], lens: vec![len] }
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
    attn_post_norm: Option<Wanted>,
    ffn_norm: Option<Wanted>,
    gate_up: Wanted,
    down: Wanted,
    ffn_post_norm: Option<Wanted>,
}

fn wanted_layer(number: usize, dims: &Dims, arch: &Architecture) -> WantedLayer {
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
    let turned = (!arch.rope_halves).then_some(apart);
    let (qkv, gate_up) = match arch.fused {
        true => (
            Wanted::matrix(name("attn_qkv", "weight"), qkv_rows.iter().sum(), dims.n_embd),
            Wanted::matrix(name("ffn_up", "weight"), 2 * dims.n_ff, dims.n_embd),
        ),
        false => (
            Wanted::Matrix {
                names: names(&stems, "weight"),
                rows: qkv_rows.clone(),
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
        qkv_bias: arch.qkv_bias.then(|| Wanted::Vector { names: names(&stems, "bias"), lens: qkv_rows }),
        qk_norm: arch.qk_norm.map(|_| Wanted::Vector {
            names: names(&["attn_q_norm", "attn_k_norm"], "weight"),
            lens: qk_lens,
        }),
        attn_out: Wanted::matrix(name("attn_output", "weight"), dims.n_embd, dims.q_width()),
        attn_post_norm: norm("post_attention_norm", after),
        ffn_norm: norm("ffn_norm", before),
        gate_up,
        down: Wanted::matrix(name("ffn_down", "weight"), dims.n_embd, dims.n_ff),
        ffn_post_norm: norm("post_ffw_norm", after),
    }
}

/// The factors of rotary frequencies, if the file has any: some, or some for a short and others for a long context.
fn wanted_factors(header: &Header, dims: &Dims, long: bool) -> Option<Wanted> {
    let by_context = if long { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
    let name = ["rope_freqs.weight", by_context].into_iter().find(|name| header.tensor(name).is_some())?;
    Some(Wanted::vector(name, dims.n_rot / 2))
}

impl WantedLayer {
    fn all(&self) -> impl Iterator<Item = &Wanted> {
        let some = [
            &self.attn_norm,
            &self.qkv_bias,
            &self.qk_norm,
            &self.attn_post_norm,
            &self.ffn_norm,
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
        layers: (0..dims.n_layer).map(|number| wanted_layer(number, dims, arch)).collect(),
        out_norm: Wanted::vector("output_norm.weight", dims.n_embd),
        head: own_head.then(|| Wanted::matrix("output.weight", dims.n_vocab, dims.n_embd)),
        factors: wanted_factors(header, dims, long),
    }
}

impl WantedModel {
    /// The bytes of all tensors, or one error with everything that is missing, misshapen or in an unknown format.
    pub(super) fn check(&self, header: &Header) -> Result<u64> {
        let whole = [&self.embed, &self.out_norm].into_iter().chain(&self.head).chain(&self.factors);
        check_all(header, whole.chain(self.layers.iter().flat_map(WantedLayer::all)))
    }
}

/// Loads everything, once it is seen to be there.
pub(super) async fn load(
    backend: &Backend,
    header: &Header,
    (dims, arch): (&Dims, &Architecture),
    wanted: WantedModel,
    source: &impl ByteSource,
    on_progress: &mut dyn FnMut(LoadProgress),
) -> Result<Weights> {
    let total = wanted.check(header)?;
    let WantedModel { embed, layers, out_norm, head, factors } = wanted;
    let digest = Sha256::new_with_prefix(format!("{} {dims:?}", arch.name));
    let progress = LoadProgress { loaded: 0, total };
    let mut loader = Loader { backend, header, source, progress, on_progress, digest };
    let embed = loader.matrix(&embed).await?;
    let mut loaded = Vec::with_capacity(layers.len());
    for layer in &layers {
        loaded.push(loader.layer(layer).await?);
    }
    let out_norm = loader.vector(&out_norm).await?;
    let head = match &head {
        Some(head) => loader.matrix(head).await?,
        None => embed.clone(),
    };
    let rope_factors = match &factors {
        Some(factors) => Some(loader.numbers(factors).await?),
        None => None,
    };
    let fingerprint = loader.digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Weights { embed, layers: loaded, out_norm, head, fingerprint, rope_factors })
}

/// The bytes of all wanted tensors, or one error with everything that is missing, misshapen or in an unknown format.
fn check_all<'a>(header: &Header, wanted: impl Iterator<Item = &'a Wanted>) -> Result<u64> {
    let (mut bytes, mut faults) = (0, Faults::default());
    for wanted in wanted {
        let parts: Vec<(&String, Vec<usize>)> = match wanted {
            Wanted::Vector { names, lens } => names.iter().zip(lens.iter().map(|len| vec![*len])).collect(),
            Wanted::Matrix { names, rows, cols, .. } => {
                names.iter().zip(rows.iter().map(|rows| vec![*rows, *cols])).collect()
            }
        };
        for (name, shape) in parts {
            bytes += faults.note(check(header, name, &shape)).map_or(0, |info| info.bytes);
        }
    }
    faults.check()?;
    Ok(bytes)
}

fn check<'a>(header: &'a Header, name: &str, shape: &[usize]) -> Result<&'a TensorInfo> {
    let info = header.tensor(name).ok_or_else(|| Error::file(format!("tensor {name:?} is missing")))?;
    if info.dims != shape {
        let got = &info.dims;
        return Err(Error::file(format!("tensor {name:?}: expected shape {shape:?}, got {got:?}")));
    }
    let format = quant::format_of(info)?;
    if shape.len() == 2 {
        format.check_cols(info.cols()).map_err(|error| error.at(format!("tensor {name:?}")))?;
    }
    Ok(info)
}

struct Loader<'a, S: ByteSource> {
    backend: &'a Backend,
    header: &'a Header,
    source: &'a S,
    progress: LoadProgress,
    on_progress: &'a mut dyn FnMut(LoadProgress),
    digest: Sha256,
}

/// Rows of one tensor of the file that become part of a slab.
struct Part<'a> {
    info: &'a TensorInfo,
    format: &'static Format,
    first_row: usize,
    rows: usize,
    turned: Option<Turned>,
}

impl Part<'_> {
    /// Rows that stay together: a slab's format wants so many, and a head is sorted whole.
    fn rows_step(&self) -> usize {
        let step = self.format.rows_step(self.info.cols());
        let head = self.turned.map_or(1, |turned| turned.head_dim);
        if head.is_multiple_of(step) { head } else { head * step }
    }
}

impl<'a, S: ByteSource> Loader<'a, S> {
    async fn layer(&mut self, wanted: &WantedLayer) -> Result<Layer> {
        Ok(Layer {
            attn_norm: self.maybe_vector(&wanted.attn_norm).await?,
            qkv: self.matrix(&wanted.qkv).await?,
            qkv_bias: self.maybe_vector(&wanted.qkv_bias).await?,
            qk_norm: self.maybe_vector(&wanted.qk_norm).await?,
            attn_out: self.matrix(&wanted.attn_out).await?,
            attn_post_norm: self.maybe_vector(&wanted.attn_post_norm).await?,
            ffn_norm: self.maybe_vector(&wanted.ffn_norm).await?,
            gate_up: self.matrix(&wanted.gate_up).await?,
            down: self.matrix(&wanted.down).await?,
            ffn_post_norm: self.maybe_vector(&wanted.ffn_post_norm).await?,
        })
    }

    async fn maybe_vector(&mut self, wanted: &Option<Wanted>) -> Result<Option<Tensor>> {
        match wanted {
            Some(wanted) => Ok(Some(self.vector(wanted).await?)),
            None => Ok(None),
        }
    }

    /// Vectors, one after the other, as one on the device; part of the fingerprint.
    async fn vector(&mut self, wanted: &Wanted) -> Result<Tensor> {
        let values = self.numbers(wanted).await?;
        let Wanted::Vector { names, .. } = wanted else { unreachable!("a vector is wanted") };
        self.digest.update(bytemuck::cast_slice::<f32, u8>(&values));
        self.backend.tensor_of(&names[0], &[values.len()], bytemuck::cast_slice(&values))
    }

    /// The values of vectors, one after the other.
    async fn numbers(&mut self, wanted: &Wanted) -> Result<Vec<f32>> {
        let Wanted::Vector { names, .. } = wanted else { unreachable!("a vector is wanted") };
        let mut values = Vec::new();
        for name in names {
            let (info, format) = self.find(name)?;
            let bytes = self.read(info.offset, info.bytes).await?;
            let start = values.len();
            values.resize(start + info.cols(), 0.0f32);
            format.decode(&bytes, &mut values[start..]);
            if let Some(i) = values[start..].iter().position(|value| !value.is_finite()) {
                let value = values[start + i];
                return Err(Error::file(format!("tensor {name:?}: value {i} is {value}: expected a number")));
            }
        }
        Ok(values)
    }

    /// Matrices of the same width, one above the other, in as few slabs as formats and the device allow.
    async fn matrix(&mut self, wanted: &Wanted) -> Result<Matrix> {
        let Wanted::Matrix { names, rows, cols, turned } = wanted else { unreachable!("a matrix is wanted") };
        let mut matrix = Matrix { rows: rows.iter().sum(), cols: *cols, slabs: Vec::new() };
        let parts = names.iter().zip(turned).map(|(name, turned)| {
            let (info, format) = self.find(name)?;
            Ok(Part { info, format, first_row: 0, rows: info.rows(), turned: *turned })
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let mut first_row = 0;
        for group in into_slabs(parts, self.backend.max_tensor_bytes())? {
            let slab = self.slab(&group, first_row, *cols).await?;
            first_row += slab.rows;
            matrix.slabs.push(slab);
        }
        Ok(matrix)
    }

    async fn slab(&mut self, parts: &[Part<'_>], first_row: usize, cols: usize) -> Result<Slab> {
        let (format, label) = (parts[0].format, &parts[0].info.name);
        let rows = parts.iter().map(|part| part.rows).sum();
        let words = format.words(rows, cols);
        let qs = self.backend.tensor(label, &[words.qs])?;
        let scales = match words.scales {
            0 => None,
            n => Some(self.backend.tensor(format!("{label} scales"), &[n])?),
        };
        let mut at = 0;
        for part in parts {
            self.upload(part, cols, at, [Some(&qs), scales.as_ref()]).await?;
            at += part.rows;
        }
        Ok(Slab { label: label.clone(), format, first_row, rows, cols, qs, scales })
    }

    /// Reads, repacks and uploads a part, some rows at a time, to row `at` of its slab.
    async fn upload(
        &mut self,
        part: &Part<'_>,
        cols: usize,
        at: usize,
        to: [Option<&Tensor>; 2],
    ) -> Result<()> {
        let (format, row_bytes) = (part.format, part.info.row_bytes());
        let rows_at_once = (PIECE_BYTES / row_bytes).max(1) as usize;
        let rows_at_once = rows_at_once.next_multiple_of(part.rows_step());
        let mut done = 0;
        while done < part.rows {
            let rows = rows_at_once.min(part.rows - done);
            let offset = part.info.offset + (part.first_row + done) as u64 * row_bytes;
            let mut bytes = self.read(offset, rows as u64 * row_bytes).await?;
            if let Some(turned) = part.turned {
                bytes = turned.sort(&bytes, row_bytes as usize);
            }
            let packed = format.repack(&bytes);
            let before = format.words(at + done, cols);
            for (tensor, (at, words)) in
                to.iter().zip([(before.qs, &packed.qs), (before.scales, &packed.scales)])
            {
                if let Some(tensor) = tensor {
                    tensor.write(at, words);
                }
            }
            done += rows;
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<(&'a TensorInfo, &'static Format)> {
        let info = self.header.tensor(name).expect("checked before");
        Ok((info, quant::format_of(info)?))
    }

    async fn read(&mut self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len as usize];
        self.source.read(offset, &mut bytes).await?;
        self.progress.loaded += len;
        (self.on_progress)(self.progress);
        Ok(bytes)
    }
}

/// Cuts parts where a slab would pass `limit` bytes, and puts neighbours of one format into one slab.
///
/// # Errors
/// `Unsupported` where rows that stay together pass it.
fn into_slabs(parts: Vec<Part<'_>>, limit: u64) -> Result<Vec<Vec<Part<'_>>>> {
    let mut slabs: Vec<Vec<Part<'_>>> = Vec::new();
    for part in parts {
        let cols = part.info.cols();
        let step = part.rows_step();
        let row_bytes = 4 * part.format.words(step, cols).qs.div_ceil(step) as u64;
        let most = (limit / row_bytes) as usize / step * step;
        if most == 0 {
            let name = &part.info.name;
            return Err(Error::unsupported(format!(
                "tensor {name:?}: {step} rows of {cols} values are more than the {limit} bytes that the device binds"
            )));
        }
        let mut first_row = 0;
        while first_row < part.rows {
            let taken: usize = slabs.last().map_or(0, |slab| slab.iter().map(|part| part.rows).sum());
            let joins = slabs.last().is_some_and(|slab| std::ptr::eq(slab[0].format, part.format))
                && taken.is_multiple_of(step)
                && taken < most;
            let taken = if joins { taken } else { 0 };
            let rows = (part.rows - first_row).min(most - taken);
            let piece = Part { first_row, rows, ..part };
            match slabs.last_mut() {
                Some(slab) if joins => slab.push(piece),
                _ => slabs.push(vec![piece]),
            }
            first_row += rows;
        }
    }
    Ok(slabs)
}

#[cfg(test)]
mod tests {
    use super::{Part, into_slabs};
    use crate::gguf::{GgmlType, TensorInfo};
    use crate::quant;

    /// The tensors of a matrix of 64 columns: the number of a format, and rows.
    fn tensors(parts: &[(u32, usize)]) -> Vec<TensorInfo> {
        let tensor = |(id, rows): &(u32, usize)| TensorInfo {
            name: "w".to_owned(),
            format: GgmlType::from_id(*id).unwrap(),
            dims: vec![*rows, 64],
            offset: 0,
            bytes: 0,
        };
        parts.iter().map(tensor).collect()
    }

    /// For each slab, the first row and the rows of each of its parts.
    fn cut(tensors: &[TensorInfo], limit: u64) -> Vec<Vec<[usize; 2]>> {
        let part = |info| Part {
            info,
            format: quant::format_of(info).unwrap(),
            first_row: 0,
            rows: TensorInfo::rows(info),
            turned: None,
        };
        let slabs = into_slabs(tensors.iter().map(part).collect(), limit).unwrap();
        slabs.iter().map(|slab| slab.iter().map(|part| [part.first_row, part.rows]).collect()).collect()
    }

    const F32: u32 = 0;
    const Q8_0: u32 = 8;

    #[test]
    fn a_matrix_that_the_device_can_bind_is_one_slab() {
        assert_eq!(cut(&tensors(&[(F32, 8), (F32, 4), (F32, 4)]), 1 << 20), [[[0, 8], [0, 4], [0, 4]]]);
    }

    #[test]
    fn formats_do_not_share_a_slab() {
        assert_eq!(
            cut(&tensors(&[(F32, 8), (Q8_0, 4), (Q8_0, 4)]), 1 << 20),
            [vec![[0, 8]], vec![[0, 4], [0, 4]]]
        );
    }

    #[test]
    fn no_slab_is_larger_than_the_device_can_bind() {
        let row_bytes = 4 * 64;
        assert_eq!(
            cut(&tensors(&[(F32, 10), (F32, 3)]), 4 * row_bytes),
            [vec![[0, 4]], vec![[4, 4]], vec![[8, 2], [0, 2]], vec![[2, 1]]]
        );
        // Of Q8_0, only the quants count: 64 bytes a row.
        assert_eq!(cut(&tensors(&[(Q8_0, 10)]), 4 * 64), [[[0, 4]], [[4, 4]], [[8, 2]]]);
    }

    #[test]
    fn a_row_that_the_device_cannot_bind_is_an_error() {
        let info = &tensors(&[(F32, 3)])[0];
        let part =
            Part { info, format: quant::format_of(info).unwrap(), first_row: 0, rows: 3, turned: None };
        let error = into_slabs(vec![part], 4 * 63).err().unwrap().to_string();
        assert!(error.contains("1 rows of 64 values") && error.contains("252 bytes"), "{error}");
    }
}
