//! The architectures webreft runs: a row each, and how a file's metadata becomes dims.

use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::gguf::Header;

/// What an architecture does its own way.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// `general.architecture`
    pub name: &'static str,
    /// Whether rotary pairs are the halves of a head in the file, and not neighbours; in memory they always are.
    pub rope_halves: bool,
    /// Whether q, k and v have biases.
    pub qkv_bias: bool,
}

/// Every architecture there is. A new one is a row.
pub static ARCHITECTURES: [Architecture; 2] = [
    Architecture { name: "llama", rope_halves: false, qkv_bias: false },
    Architecture { name: "qwen2", rope_halves: true, qkv_bias: true },
];

/// The longest context that is made ready when nobody asks for one.
const USUAL_CONTEXT: usize = 4096;

/// The row and the dims that a file's metadata give.
pub(super) fn read(header: &Header) -> Result<(&'static Architecture, Dims)> {
    let name = header.metadata.str("general.architecture")?;
    let arch = ARCHITECTURES.iter().find(|arch| arch.name == name).ok_or_else(|| {
        let supported: Vec<&str> = ARCHITECTURES.iter().map(|arch| arch.name).collect();
        let supported = supported.join(", ");
        Error::unsupported(format!("architecture {name:?} is not supported (supported: {supported})"))
    })?;
    let dims = read_dims(header, name)?;
    check_dims(&dims)?;
    check_scaling(header, name)?;
    Ok((arch, dims))
}

fn read_dims(header: &Header, name: &str) -> Result<Dims> {
    let key = |what: &str| format!("{name}.{what}");
    let count = |what: &str| header.metadata.u32(&key(what)).map(|n| n as usize);
    let count_or = |what: &str, default: usize| {
        let given: Option<u32> = header.metadata.get(&key(what))?;
        Ok::<usize, Error>(given.map_or(default, |n| n as usize))
    };
    let (n_embd, n_head) = (count("embedding_length")?, count("attention.head_count")?);
    let head_dim = count_or("attention.key_length", n_embd / n_head.max(1))?;
    let embed = header.tensor("token_embd.weight");
    let embed = embed.ok_or_else(|| Error::file("tensor \"token_embd.weight\" is missing"))?;
    Ok(Dims {
        n_embd,
        n_layer: count("block_count")?,
        n_head,
        n_head_kv: count_or("attention.head_count_kv", n_head)?,
        head_dim,
        n_ff: count("feed_forward_length")?,
        n_vocab: embed.rows(),
        n_ctx: count("context_length")?,
        n_rot: count_or("rope.dimension_count", head_dim)?,
        rope_base: header.metadata.get(&key("rope.freq_base"))?.unwrap_or(10000.0),
        norm_eps: header.metadata.f32(&key("attention.layer_norm_rms_epsilon"))?,
    })
}

/// Fails on dims that the kernels cannot take, naming all that is wrong.
fn check_dims(dims: &Dims) -> Result<()> {
    let Dims { n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_vocab, n_ctx, n_rot, .. } = *dims;
    let counts = [n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_vocab, n_ctx];
    let mut wrong = Vec::new();
    if counts.iter().any(|&n| n == 0 || n > 1 << 24) {
        wrong.push(format!("a dimension is zero or absurd: {dims:?}"));
    } else if !n_head.is_multiple_of(n_head_kv) {
        wrong.push(format!("{n_head} heads cannot share {n_head_kv} heads of keys"));
    }
    if n_embd % 4 != 0 || n_ff % 4 != 0 {
        wrong.push(format!("widths {n_embd} and {n_ff}: expected multiples of 4"));
    }
    if head_dim % 4 != 0 || head_dim > 256 {
        wrong.push(format!("head of {head_dim} values: expected a multiple of 4, at most 256"));
    }
    if n_rot % 2 != 0 || n_rot > head_dim {
        wrong.push(format!("{n_rot} rotary values in a head of {head_dim}"));
    }
    if !(dims.norm_eps >= 0.0 && dims.norm_eps < 1.0 && dims.rope_base > 0.0) {
        wrong.push(format!("norm epsilon {} or rope base {}", dims.norm_eps, dims.rope_base));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::file(wrong.join("; "))) }
}

/// Fails on ways of stretching the context that would change every number in silence.
fn check_scaling(header: &Header, name: &str) -> Result<()> {
    let kind: Option<&str> = header.metadata.get(&format!("{name}.rope.scaling.type"))?;
    let factor: Option<f32> = header.metadata.get(&format!("{name}.rope.scaling.factor"))?;
    let scaled = kind.is_some_and(|kind| kind != "none") && factor != Some(1.0);
    if scaled || header.tensor("rope_freqs.weight").is_some() {
        let kind = kind.unwrap_or("by rope_freqs.weight");
        return Err(Error::unsupported(format!("rope scaling {kind} is not supported (supported: none)")));
    }
    Ok(())
}

/// The context to make ready: what is asked for, or the model's own up to a usual size.
pub(super) fn context(dims: &Dims, asked: Option<usize>) -> Result<usize> {
    match asked {
        None => Ok(dims.n_ctx.min(USUAL_CONTEXT)),
        Some(asked) if (1..=dims.n_ctx).contains(&asked) => Ok(asked),
        Some(asked) => Err(Error::input(format!(
            "context of {asked} tokens: expected 1 to {}, the model's own",
            dims.n_ctx
        ))),
    }
}
