//! What a plan knows of a kernel: its name, its parameters and its arguments.

use super::Buf;

/// How a step uses an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read only.
    In,
    /// Read, and written in place.
    InOut,
    /// Written; the previous content does not matter.
    Out,
}

/// The type of a number in a buffer or in a shader's struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `u32`
    U32,
    /// `f32`
    F32,
}

/// The fields of a shader's struct, in order.
pub type Fields = &'static [(&'static str, Field)];

/// What an argument's buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Numbers, or vectors of them.
    Numbers(Field),
    /// One struct.
    Record(Fields),
    /// Structs, one after the other.
    Records(Fields),
}

/// One storage buffer of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// The variable in the shader.
    pub name: &'static str,
    /// How the kernel uses it.
    pub role: Role,
    /// What it holds.
    pub content: Content,
}

/// The signature of an operation.
#[derive(Debug)]
pub struct Kernel {
    /// The stem of `shaders/<name>.wgsl`.
    pub name: &'static str,
    /// The fields of the shader's `Params`.
    pub params: Fields,
    /// The shader's storage buffers in group 0, from binding 1 on.
    pub args: &'static [Arg],
    /// Whether it reads a weight matrix: group 1, declared by `shaders/quant/<format>.wgsl`.
    pub weight: bool,
}

/// A Rust type that a shader sees as one number.
pub trait Param: Copy {
    /// The shader's type.
    const FIELD: Field;

    /// The four bytes that the shader reads.
    fn bits(self) -> u32;

    /// The value of these four bytes.
    fn of(bits: u32) -> Self;
}

impl Param for u32 {
    const FIELD: Field = Field::U32;

    fn bits(self) -> u32 {
        self
    }

    fn of(bits: u32) -> u32 {
        bits
    }
}

impl Param for usize {
    const FIELD: Field = Field::U32;

    fn bits(self) -> u32 {
        u32::try_from(self).expect("a count fits 32 bits")
    }

    fn of(bits: u32) -> usize {
        bits as usize
    }
}

impl Param for bool {
    const FIELD: Field = Field::U32;

    fn bits(self) -> u32 {
        u32::from(self)
    }

    fn of(bits: u32) -> bool {
        bits != 0
    }
}

impl Param for f32 {
    const FIELD: Field = Field::F32;

    fn bits(self) -> u32 {
        self.to_bits()
    }

    fn of(bits: u32) -> f32 {
        f32::from_bits(bits)
    }
}

/// An index, or in shaders 0xffffffff for none.
impl Param for Option<usize> {
    const FIELD: Field = Field::U32;

    fn bits(self) -> u32 {
        self.map_or(u32::MAX, Param::bits)
    }

    fn of(bits: u32) -> Option<usize> {
        (bits != u32::MAX).then_some(bits as usize)
    }
}

/// A struct that Rust and a shader share, field by field. `record!` declares one.
pub trait Record: Copy {
    /// Its fields in the shader.
    const FIELDS: Fields;

    /// How many words it takes.
    const WORDS: usize = Self::FIELDS.len();

    /// A word for each field.
    fn words(&self) -> Vec<u32>;

    /// The record that these words hold.
    ///
    /// # Panics
    /// If there is not one word for each field.
    fn of(words: &[u32]) -> Self;
}

/// The arguments of a kernel, by name, as buffers of a plan.
pub trait Bufs {
    /// The kernel's parameters, by name.
    type Params: Record;

    /// The buffers in the order of the shader's bindings.
    fn in_order(self) -> Vec<Buf>;
}

/// Declares a struct that a shader has too: each field is a [`Param`], one word.
macro_rules! record {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_doc:meta])* $field_vis:vis $field:ident: $ty:ty),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        $vis struct $name {
            $($(#[$field_doc])* $field_vis $field: $ty),*
        }

        impl $crate::plan::Record for $name {
            const FIELDS: $crate::plan::Fields =
                &[$((stringify!($field), <$ty as $crate::plan::Param>::FIELD)),*];

            fn words(&self) -> Vec<u32> {
                vec![$($crate::plan::Param::bits(self.$field)),*]
            }

            fn of(words: &[u32]) -> Self {
                let &[$($field),*] = words else {
                    panic!("{}: got {} words", stringify!($name), words.len());
                };
                Self { $($field: $crate::plan::Param::of($field)),* }
            }
        }
    };
}

pub(crate) use record;
