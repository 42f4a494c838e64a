//! A decoder-only transformer as plans: forward, backward, and hooks at which others may edit hidden states.
//!
//! It does not know that ReFT exists.

mod arch;
mod cache;
mod check;
mod head;
mod hooks;
mod keys;
mod layer;
mod loader;
mod pass;
mod rope;
mod weights;

use crate::backend::Backend;
use crate::bytes::ByteSource;
use crate::dims::Dims;
use crate::error::{Faults, Result};
use crate::gguf::Header;
use crate::quant::Format;
use crate::tensor::Tensor;
use crate::token::TextHashes;

pub use arch::{ARCHITECTURES, Architecture, Biases, Norms, QkGroups, Windows};
pub use cache::Cache;
pub use check::{Fault, Verdict, check, check_with, compile};
pub use head::{LabelGroup, Labels};
pub use hooks::{Component, Hooks, Input, Inputs, NoHooks, Place, Window};
pub use layer::LayerTrace;
pub use pass::{Pass, WayBack, backward, embed, forward, forward_from, forward_kept};
pub use weights::{LoadPhase, LoadProgress};

use crate::kernel::{Heads, QkNorm, Rope};
use arch::Consts;
use rope::Scaling;
use weights::{WantedModel, Weights};

/// How a model is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// The longest context wanted; none takes what the file says, up to 4096.
    pub n_ctx: Option<usize>,
    /// What matrices in F32, F16 or BF16 are quantized to while loading, if they are.
    pub quantize: Option<&'static Format>,
}

/// A model's frozen weights on a machine.
pub struct Model {
    /// Who holds the weights and runs the plans.
    pub backend: Backend,
    /// `general.name` of the file.
    pub name: String,
    /// What tells this model from others, whatever its quantization: a hash of its dims and of its norms.
    pub fingerprint: String,
    /// What tells its tokenizer and its chat template from others.
    pub text: TextHashes,
    /// What the architecture does its own way.
    pub arch: &'static Architecture,
    /// Its shape.
    pub dims: Dims,
    /// Positions there are angles for: the longest context that can be run.
    pub n_ctx: usize,
    consts: Consts,
    weights: Weights,
    /// The angles of layers that see everything, and of layers with a window.
    rope_tables: [Tensor; 2],
}

/// What a header tells of a model, held against the tensors that the file has.
pub(crate) struct Outline {
    name: String,
    /// What tells tokenizer and template of a GGUF file from another's; a repository's are told by its own files.
    pub(crate) text: TextHashes,
    arch: &'static Architecture,
    dims: Dims,
    consts: Consts,
    n_ctx: usize,
    scaling: Scaling,
    wanted: WantedModel,
}

impl Outline {
    /// Everything that is wrong is in one error.
    pub(crate) fn read(header: &Header, options: &LoadOptions) -> Result<Outline> {
        let mut faults = Faults::default();
        let name = faults.note(header.metadata.get("general.name"));
        let text = faults.note(TextHashes::from_gguf(&header.metadata));
        let shape = faults.note(arch::read(header));
        let rest = shape.and_then(|(arch, dims, consts)| {
            let n_ctx = faults.note(arch::context(&dims, options.n_ctx));
            let scaling = faults.note(Scaling::read(header, arch));
            let original = scaling.and_then(|scaling| scaling.original_ctx);
            let long = original.zip(n_ctx).is_some_and(|(original, n_ctx)| n_ctx > original);
            let wanted = weights::wanted(header, &dims, arch, long);
            faults.note(wanted.check(header, options.quantize));
            faults.note(wanted.check_others(header, arch));
            Some((arch, dims, consts, n_ctx?, scaling?, wanted))
        });
        faults.check()?;
        let ((name, text), rest) = name.zip(text).zip(rest).expect("nothing is wrong");
        let (arch, dims, consts, n_ctx, scaling, wanted) = rest;
        let name = name.unwrap_or("unnamed").to_owned();
        Ok(Outline { name, text, arch, dims, consts, n_ctx, scaling, wanted })
    }

    /// Rows of the embedding.
    pub(crate) fn n_vocab(&self) -> usize {
        self.dims.n_vocab
    }

    /// Bytes that the model takes with one full context, at most.
    pub(crate) fn bytes(&self, header: &Header, quantize: Option<&'static Format>) -> u64 {
        let weights: u64 = header.tensors.iter().map(|tensor| loader::bytes_kept(tensor, quantize)).sum();
        let token = 2 * 4 * self.dims.n_layer as u64 * self.dims.kv_width() as u64;
        let cache = token.saturating_mul(self.n_ctx as u64);
        cache.saturating_add(weights + weights / 100 * 15)
    }

    /// Reads, repacks and uploads the weights.
    pub(crate) async fn load(
        self,
        backend: &Backend,
        from: (&Header, &[impl ByteSource]),
        options: &LoadOptions,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Model> {
        let Outline { name, text, arch, dims, consts, n_ctx, scaling, wanted } = self;
        let weights =
            weights::load(backend, from, (&dims, arch), wanted, options.quantize, on_progress).await?;
        let rope_tables = scaling.tables(backend, &dims, weights.rope_factors.as_deref(), n_ctx)?;
        let (backend, fingerprint) = (backend.clone(), weights.fingerprint.clone());
        Ok(Model { backend, name, fingerprint, text, arch, dims, n_ctx, consts, weights, rope_tables })
    }
}

impl Model {
    /// Reads, repacks and uploads a model's weights, a piece of a tensor at a time. Tensors of the header lie in `files`.
    ///
    /// # Errors
    /// `Unsupported` for an architecture or format webreft does not have, `File` for weights that are missing, misshapen or
    /// cut off, all of them in one message; `Input` for a context that is longer than the model's own.
    pub async fn load(
        backend: &Backend,
        header: &Header,
        files: &[impl ByteSource],
        options: &LoadOptions,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Model> {
        Outline::read(header, options)?.load(backend, (header, files), options, on_progress).await
    }

    /// How the attention of layer `number` is cut into heads, and what each sees.
    fn heads(&self, number: usize) -> Heads {
        let Dims { n_head, n_head_kv, head_dim, .. } = self.dims;
        let Consts { attention_scale: scale, attention_cap: cap, .. } = self.consts;
        Heads { n_head, n_head_kv, head_dim, window: self.consts.window_of(number), scale, cap }
    }

    /// How layer `number` turns queries and keys, and the table of its angles.
    fn rope(&self, number: usize) -> (Rope, &Tensor) {
        let Dims { n_head, n_head_kv, head_dim, n_rot, .. } = self.dims;
        let unturned = self.arch.unturned_every.is_some_and(|every| (number + 1).is_multiple_of(every));
        let n_rot = if unturned { 0 } else { n_rot };
        let windowed = self.consts.window_of(number).is_some();
        (Rope { n_head, n_head_kv, head_dim, n_rot }, &self.rope_tables[usize::from(windowed)])
    }

    /// How queries and keys are normed, where they are.
    fn qk_norm(&self) -> Option<QkNorm> {
        let Dims { n_head, n_head_kv, head_dim, norm_eps: eps, .. } = self.dims;
        self.arch.qk_norm.map(|groups| match groups {
            QkGroups::Heads => {
                QkNorm { n_q: n_head, q_width: head_dim, n_k: n_head_kv, k_width: head_dim, eps }
            }
            QkGroups::All => {
                QkNorm { n_q: 1, q_width: self.dims.q_width(), n_k: 1, k_width: self.dims.kv_width(), eps }
            }
        })
    }

    /// Whether any layer adds a bias to a product.
    fn has_biases(&self) -> bool {
        self.weights.layers.iter().any(weights::Layer::has_biases)
    }

    /// The matrix whose output is at this place, in the component's columns; none where no matrix's is.
    pub fn matrix_at(&self, place: Place) -> Option<&crate::plan::Matrix> {
        let layer = &self.weights.layers[place.layer];
        match place.component {
            Component::QueryOutput | Component::KeyOutput | Component::ValueOutput => Some(&layer.qkv),
            Component::AttentionOutput => Some(&layer.attn_out),
            Component::GateOutput | Component::UpOutput => Some(&layer.gate_up),
            Component::MlpOutput => Some(&layer.down),
            _ => None,
        }
    }

    /// Every weight there is, for measuring: embedding, layers' matrices in order, and the output matrix.
    pub fn matrices(&self) -> impl Iterator<Item = &crate::plan::Matrix> {
        let layers = self.weights.layers.iter().flat_map(|l| [&l.qkv, &l.attn_out, &l.gate_up, &l.down]);
        std::iter::once(&self.weights.embed).chain(layers).chain(std::iter::once(&self.weights.head))
    }
}
