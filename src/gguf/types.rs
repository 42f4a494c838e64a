//! The types of tensors that GGUF files hold: `enum ggml_type` and the sizes of its blocks.

/// How a tensor's values lie in the file: in blocks along its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GgmlType {
    /// Number in the file, `enum ggml_type`.
    pub id: u32,
    /// ggml's name, in capitals.
    pub name: &'static str,
    /// Values in a block.
    pub block_values: u32,
    /// Bytes of a block.
    pub block_bytes: u32,
}

impl GgmlType {
    /// The type with this number, or none if this list does not know it.
    pub fn from_id(id: u32) -> Option<GgmlType> {
        GGML_TYPES.iter().copied().find(|t| t.id == id)
    }
}

const fn ggml_type(id: u32, name: &'static str, block_values: u32, block_bytes: u32) -> GgmlType {
    GgmlType { id, name, block_values, block_bytes }
}

/// Every type whose size is known. ggml has withdrawn the numbers that are missing.
const GGML_TYPES: [GgmlType; 32] = [
    ggml_type(0, "F32", 1, 4),
    ggml_type(1, "F16", 1, 2),
    ggml_type(2, "Q4_0", 32, 18),
    ggml_type(3, "Q4_1", 32, 20),
    ggml_type(6, "Q5_0", 32, 22),
    ggml_type(7, "Q5_1", 32, 24),
    ggml_type(8, "Q8_0", 32, 34),
    ggml_type(9, "Q8_1", 32, 36),
    ggml_type(10, "Q2_K", 256, 84),
    ggml_type(11, "Q3_K", 256, 110),
    ggml_type(12, "Q4_K", 256, 144),
    ggml_type(13, "Q5_K", 256, 176),
    ggml_type(14, "Q6_K", 256, 210),
    ggml_type(15, "Q8_K", 256, 292),
    ggml_type(16, "IQ2_XXS", 256, 66),
    ggml_type(17, "IQ2_XS", 256, 74),
    ggml_type(18, "IQ3_XXS", 256, 98),
    ggml_type(19, "IQ1_S", 256, 50),
    ggml_type(20, "IQ4_NL", 32, 18),
    ggml_type(21, "IQ3_S", 256, 110),
    ggml_type(22, "IQ2_S", 256, 82),
    ggml_type(23, "IQ4_XS", 256, 136),
    ggml_type(24, "I8", 1, 1),
    ggml_type(25, "I16", 1, 2),
    ggml_type(26, "I32", 1, 4),
    ggml_type(27, "I64", 1, 8),
    ggml_type(28, "F64", 1, 8),
    ggml_type(29, "IQ1_M", 256, 56),
    ggml_type(30, "BF16", 1, 2),
    ggml_type(34, "TQ1_0", 256, 54),
    ggml_type(35, "TQ2_0", 256, 66),
    ggml_type(39, "MXFP4", 32, 17),
];
