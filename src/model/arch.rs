//! The architectures webreft runs: a row each, and how a file's metadata becomes dims and constants.

use super::keys;
use crate::dims::Dims;
use crate::error::{Error, Faults, Result};
use crate::gguf::{Header, Origin, TensorInfo};
use crate::kernel::Activation;

/// What an architecture does its own way.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// `general.architecture`
    pub name: &'static str,
    /// Whether rotary pairs are the halves of a head in the file, and not neighbours; in memory they always are.
    pub rope_halves: bool,
    /// Which matrices of a layer have biases in a GGUF file; a repository's configuration says it itself.
    pub biases: Biases,
    /// Whether q, k and v are one tensor of the file, and so gate and up.
    pub fused: bool,
    /// Where a sublayer has norms.
    pub norms: Norms,
    /// Whether Transformers' files have norms' weights less one.
    pub norms_less_one: bool,
    /// Whether queries and keys are normed before they are turned, and how many of their values together.
    pub qk_norm: Option<QkGroups>,
    /// The function on the gate.
    pub act: Activation,
    /// Whether embeddings are multiplied by √D.
    pub embed_scaled: bool,
    /// What a GGUF file's window is for.
    pub windows: Windows,
    /// What a GGUF file without them has as caps of scores and of logits.
    pub caps: [u32; 2],
    /// The base of rotary frequencies in layers with a window, where it is one of its own and the file does not say.
    pub window_rope_base: Option<u32>,
    /// Of so many layers the last is not turned by position.
    pub unturned_every: Option<usize>,
    /// A model of so many layers, the largest of its family, scales scores by the mean width of a head, D / H, instead of its own.
    pub scaled_by_mean_head: Option<usize>,
}

/// Where a sublayer has norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norms {
    /// On what it reads.
    Before,
    /// On what it adds to the stream.
    After,
    /// On both.
    Around,
}

/// Which matrices of a layer have biases, by their names in GGUF: those that llama.cpp's builder of the architecture reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Biases {
    /// Each of these may have one.
    Optional(&'static [&'static str]),
    /// Each of these has one.
    Required(&'static [&'static str]),
}

impl Biases {
    const NONE: Biases = Biases::Optional(&[]);
}

/// Which layers a window of a GGUF file is for. A repository says it by layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// None: the architecture's models see everything.
    Never,
    /// None, as in llama.cpp, whose builder leaves the window of the file out.
    Ignored,
    /// All but the last of so many, unless the file has another pattern.
    Every {
        /// So many.
        layers: usize,
        /// The window of a file that does not say.
        usual: Option<usize>,
    },
}

/// Which values of queries, and of keys, are normed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkGroups {
    /// Those of a head.
    Heads,
    /// All of a token's.
    All,
}

/// What most do.
const COMMON: Architecture = Architecture {
    name: "",
    rope_halves: false,
    biases: Biases::NONE,
    fused: false,
    norms: Norms::Before,
    norms_less_one: false,
    qk_norm: None,
    act: Activation::Silu,
    embed_scaled: false,
    windows: Windows::Never,
    caps: [0; 2],
    window_rope_base: None,
    unturned_every: None,
    scaled_by_mean_head: None,
};

/// What Gemmas have in common.
const GEMMA: Architecture = Architecture {
    rope_halves: true,
    norms: Norms::Around,
    norms_less_one: true,
    act: Activation::GeluTanh,
    embed_scaled: true,
    ..COMMON
};

/// Every architecture there is. A new one is a row. Mistral's files say llama.
pub static ARCHITECTURES: [Architecture; 8] = [
    Architecture {
        name: "llama",
        biases: Biases::Optional(&[
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_output",
            "ffn_gate",
            "ffn_up",
            "ffn_down",
        ]),
        ..COMMON
    },
    Architecture {
        name: "qwen2",
        rope_halves: true,
        biases: Biases::Required(&["attn_q", "attn_k", "attn_v"]),
        ..COMMON
    },
    Architecture { name: "qwen3", rope_halves: true, qk_norm: Some(QkGroups::Heads), ..COMMON },
    Architecture {
        name: "gemma2",
        windows: Windows::Every { layers: 2, usual: Some(4096) },
        caps: [50, 30],
        scaled_by_mean_head: Some(46),
        ..GEMMA
    },
    Architecture {
        name: "gemma3",
        qk_norm: Some(QkGroups::Heads),
        windows: Windows::Every { layers: 6, usual: None },
        window_rope_base: Some(10_000),
        scaled_by_mean_head: Some(62),
        ..GEMMA
    },
    Architecture { name: "phi3", rope_halves: true, fused: true, windows: Windows::Ignored, ..COMMON },
    Architecture { name: "smollm3", unturned_every: Some(4), ..COMMON },
    Architecture {
        name: "olmo2",
        rope_halves: true,
        norms: Norms::After,
        qk_norm: Some(QkGroups::All),
        ..COMMON
    },
];

/// What a model computes with besides its weights and its shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Consts {
    /// What embeddings are multiplied by.
    pub(super) embed_scale: f32,
    /// What q·k is multiplied by.
    pub(super) attention_scale: f32,
    /// What scores stay below, if not 0.
    pub(super) attention_cap: f32,
    /// What logits stay below, if not 0.
    pub(super) logit_cap: f32,
    /// How far back a layer with a window sees: keys, its own among them.
    pub(super) window: Option<usize>,
    /// For each layer whether it has the window.
    pub(super) windowed: Vec<bool>,
}

impl Consts {
    /// How far back layer `number` sees, if not everything.
    pub(super) fn window_of(&self, number: usize) -> Option<usize> {
        self.window.filter(|_| self.windowed.get(number) == Some(&true))
    }
}

/// No model comes near it, and products of two counts stay countable in 32 bits where they are made.
const MAX_DIM: usize = 1 << 24;
/// The longest context that is made ready when nobody asks for one.
const USUAL_CONTEXT: usize = 4096;

/// The row, the dims and the constants that a file's metadata give.
pub(super) fn read(header: &Header) -> Result<(&'static Architecture, Dims, Consts)> {
    let name = header.metadata.str("general.architecture")?;
    let arch = ARCHITECTURES.iter().find(|arch| arch.name == name).ok_or_else(|| {
        let supported: Vec<&str> = ARCHITECTURES.iter().map(|arch| arch.name).collect();
        let supported = supported.join(", ");
        Error::unsupported(format!("architecture {name:?} is not supported (supported: {supported})"))
    })?;
    let dims = read_dims(header, name)?;
    check_dims(&dims, header.tensors.len())?;
    let mut faults = Faults::default();
    faults.note(keys::check(header, arch, &dims));
    let consts = faults.note(read_consts(header, arch, &dims));
    faults.check()?;
    let consts = consts.expect("nothing is wrong");
    Ok((arch, dims, consts))
}

/// The dims as the file has them, or one error with every key that is missing or of another type.
fn read_dims(header: &Header, name: &str) -> Result<Dims> {
    let key = |what: &str| format!("{name}.{what}");
    let mut faults = Faults::default();
    let mut count = |what: &str, usual: Option<usize>| {
        let given = faults.note(read_count(header, &key(what), usual.is_none())).flatten();
        given.map_or(usual.unwrap_or(0), |n| n as usize)
    };
    let (n_embd, n_head) = (count("embedding_length", None), count("attention.head_count", None));
    let head_dim = count("attention.key_length", Some(n_embd / n_head.max(1)));
    let value_dim = count("attention.value_length", Some(head_dim));
    let dims = Dims {
        n_embd,
        n_layer: count("block_count", None),
        n_head,
        n_head_kv: count("attention.head_count_kv", Some(n_head)),
        head_dim,
        n_ff: count("feed_forward_length", None),
        n_vocab: header.tensor("token_embd.weight").map_or(0, TensorInfo::rows),
        n_ctx: count("context_length", None),
        n_rot: count("rope.dimension_count", Some(head_dim)),
        rope_base: faults.note(header.metadata.get(&key("rope.freq_base"))).flatten().unwrap_or(10000.0),
        norm_eps: faults.note(header.metadata.f32(&key("attention.layer_norm_rms_epsilon"))).unwrap_or(0.0),
    };
    if value_dim != head_dim {
        faults.add(Error::unsupported(format!(
            "heads of {head_dim} values for keys and {value_dim} for values are not supported (supported: as many)"
        )));
    }
    if header.tensor("token_embd.weight").is_none() {
        faults.add(Error::file("tensor \"token_embd.weight\" is missing"));
    }
    faults.check()?;
    Ok(dims)
}

/// A count, or none if it is not `needed`. A file may give one for each layer: they must be alike.
fn read_count(header: &Header, key: &str, needed: bool) -> Result<Option<u32>> {
    if let Ok(Some(each)) = header.metadata.get::<Vec<u32>>(key)
        && let Some(first) = each.first()
    {
        return match each.iter().all(|count| count == first) {
            true => Ok(Some(*first)),
            false => Err(Error::unsupported(format!(
                "metadata {key:?}: counts that differ from layer to layer are not supported (supported: one for all)"
            ))),
        };
    }
    if needed { header.metadata.need(key).map(Some) } else { header.metadata.get(key) }
}

/// Fails on dims that the kernels cannot take, or that a file of `n_tensors` cannot have, naming all that is wrong.
fn check_dims(dims: &Dims, n_tensors: usize) -> Result<()> {
    let Dims { n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_vocab, n_ctx, n_rot, .. } = *dims;
    let counts = [n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_vocab, n_ctx];
    let mut wrong = Vec::new();
    if counts.iter().any(|&n| n == 0 || n > MAX_DIM) {
        wrong.push(format!("a dimension is zero or absurd: {dims:?}"));
    } else if !n_head.is_multiple_of(n_head_kv) {
        wrong.push(format!("{n_head} heads cannot share {n_head_kv} heads of keys"));
    } else if n_head * head_dim.min(256) > MAX_DIM {
        wrong.push(format!("{n_head} heads of {head_dim} values: expected at most {MAX_DIM} in all"));
    }
    if n_layer > n_tensors {
        wrong.push(format!("{n_layer} layers: the file has {n_tensors} tensors"));
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
    if !(dims.norm_eps >= 0.0 && dims.norm_eps < 1.0 && dims.rope_base > 0.0 && dims.rope_base.is_finite()) {
        wrong.push(format!("norm epsilon {} or rope base {}", dims.norm_eps, dims.rope_base));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::file(wrong.join("; "))) }
}

fn read_consts(header: &Header, arch: &Architecture, dims: &Dims) -> Result<Consts> {
    let key = |what: &str| format!("{}.{what}", arch.name);
    let cap = |what: &str, usual: u32| {
        let cap = header.metadata.get::<f32>(&key(what))?.unwrap_or(usual as f32);
        let sound = cap >= 0.0 && cap.is_finite();
        sound.then_some(cap).ok_or_else(|| {
            Error::file(format!("metadata {:?}: expected a number from 0 on, got {cap}", key(what)))
        })
    };
    // A configuration's defaults are there already.
    let caps = if header.origin == Origin::HuggingFace { [0; 2] } else { arch.caps };
    let head_dim = match arch.scaled_by_mean_head {
        Some(n_layer) if n_layer == dims.n_layer => dims.n_embd / dims.n_head,
        _ => dims.head_dim,
    };
    let scale = header.metadata.get::<f32>(&key("attention.scale"))?;
    let (window, windowed) = read_windows(header, arch, dims)?;
    Ok(Consts {
        embed_scale: if arch.embed_scaled { (dims.n_embd as f32).sqrt() } else { 1.0 },
        attention_scale: scale.unwrap_or((head_dim as f32).sqrt().recip()),
        attention_cap: cap("attn_logit_softcapping", caps[0])?,
        logit_cap: cap("final_logit_softcapping", caps[1])?,
        window,
        windowed,
    })
}

/// How far back layers with a window see, and for each layer whether it has one.
fn read_windows(header: &Header, arch: &Architecture, dims: &Dims) -> Result<(Option<usize>, Vec<bool>)> {
    let key = |what: &str| format!("{}.attention.{what}", arch.name);
    let (window_key, pattern_key) = (key("sliding_window"), key("sliding_window_pattern"));
    let window = header.metadata.get::<u32>(&window_key)?.map(|window| window as usize);
    let window = match (window, arch.windows) {
        (None, Windows::Every { usual, .. }) if header.origin != Origin::HuggingFace => usual,
        _ => window.filter(|window| *window > 0),
    };
    let Some(width) = window else { return Ok((None, Vec::new())) };
    match (header.origin, arch.windows) {
        (Origin::Gguf(_), Windows::Ignored) => return Ok((None, Vec::new())),
        (Origin::Gguf(_), Windows::Never) if width >= dims.n_ctx => return Ok((None, Vec::new())),
        (Origin::Gguf(_), Windows::Never) => {
            return Err(Error::unsupported(format!(
                "metadata {window_key:?}: a window of {width} is not supported for {} (supported: none, or the whole context)",
                arch.name
            )));
        }
        _ => {}
    }
    if let Ok(Some(flags)) = header.metadata.get::<Vec<bool>>(&pattern_key) {
        let (got, n_layer) = (flags.len(), dims.n_layer);
        return (got == n_layer).then_some((window, flags)).ok_or_else(|| {
            Error::file(format!(
                "metadata {pattern_key:?}: expected {n_layer} values, one for each layer, got {got}"
            ))
        });
    }
    let usual = if let Windows::Every { layers, .. } = arch.windows { layers } else { 1 };
    let every = header.metadata.get::<u32>(&pattern_key)?.map_or(usual, |every| every as usize);
    Ok((window, all_but(every, dims)))
}

/// For each layer whether it is not the last of `every`; all are not where that is 0.
fn all_but(every: usize, dims: &Dims) -> Vec<bool> {
    (0..dims.n_layer).map(|number| every == 0 || !(number + 1).is_multiple_of(every)).collect()
}

/// Whether a GGUF file of this architecture may have layers with a window.
pub(super) fn has_windows(arch: &Architecture) -> bool {
    matches!(arch.windows, Windows::Every { .. })
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

#[cfg(test)]
mod tests {
    use super::{ARCHITECTURES, read_windows};
    use crate::dims::Dims;
    use crate::gguf::testing::Writer;

    /// The window and the layers with it, or the error's text.
    fn read(name: &str, writer: Writer) -> Result<(Option<usize>, Vec<usize>), String> {
        let arch = ARCHITECTURES.iter().find(|arch| arch.name == name).unwrap();
        let (window, flags) =
            read_windows(&writer.header().unwrap(), arch, &Dims::SMALL).map_err(|error| error.to_string())?;
        Ok((window, (0..flags.len()).filter(|number| flags[*number]).collect()))
    }

    #[test]
    fn a_window_is_for_the_layers_that_llama_cpp_gives_it() {
        let window = |name: &str| Writer::default().u32(&format!("{name}.attention.sliding_window"), 8);
        assert_eq!(read("gemma2", Writer::default()), Ok((Some(4096), vec![0, 2])));
        assert_eq!(read("gemma2", window("gemma2")), Ok((Some(8), vec![0, 2])));
        assert_eq!(read("gemma3", Writer::default()), Ok((None, vec![])));
        assert_eq!(read("gemma3", window("gemma3")), Ok((Some(8), vec![0, 1, 2, 3])));
        let every = |n: u32| window("gemma3").u32("gemma3.attention.sliding_window_pattern", n);
        assert_eq!(read("gemma3", every(4)), Ok((Some(8), vec![0, 1, 2])));
        assert_eq!(read("gemma3", every(1)), Ok((Some(8), vec![])));
        assert_eq!(read("gemma3", every(0)), Ok((Some(8), vec![0, 1, 2, 3])));
        assert_eq!(read("phi3", window("phi3")), Ok((None, vec![])));
        let whole = Writer::default().u32("llama.attention.sliding_window", 512);
        assert_eq!(read("llama", whole), Ok((None, vec![])));
        let text = "metadata \"llama.attention.sliding_window\": a window of 8 is not supported for llama (supported: none, or the whole context)";
        assert_eq!(read("llama", window("llama")), Err(text.to_owned()));
    }
}
