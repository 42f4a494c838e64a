//! The numbers that give a model its shape, in llama.cpp's names.

/// A decoder-only transformer's shape. In comments: D L H G K F V.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dims {
    /// Width of the hidden state (D).
    pub n_embd: usize,
    /// Transformer layers (L).
    pub n_layer: usize,
    /// Heads of queries (H).
    pub n_head: usize,
    /// Heads of keys and values (G).
    pub n_head_kv: usize,
    /// Values in a head (K).
    pub head_dim: usize,
    /// Width of the feed-forward layer (F).
    pub n_ff: usize,
    /// Tokens in the vocabulary (V).
    pub n_vocab: usize,
    /// Tokens the model was trained to see at once.
    pub n_ctx: usize,
    /// Values of a head that are turned by position.
    pub n_rot: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Added to the mean square in norms.
    pub norm_eps: f32,
}

#[cfg(test)]
impl Dims {
    /// The shape of a small model.
    pub(crate) const SMALL: Dims = Dims {
        n_embd: 64,
        n_layer: 4,
        n_head: 2,
        n_head_kv: 2,
        head_dim: 32,
        n_ff: 64,
        n_vocab: 32,
        n_ctx: 512,
        n_rot: 32,
        rope_base: 1e4,
        norm_eps: 1e-6,
    };
}

impl Dims {
    /// Width of all queries of a token: H·K.
    pub fn q_width(&self) -> usize {
        self.n_head * self.head_dim
    }

    /// Width of all keys of a token: G·K.
    pub fn kv_width(&self) -> usize {
        self.n_head_kv * self.head_dim
    }
}
