//! Declares kernels: names and types once, for the plan, the shader and the twin.

use super::Pool;
use crate::plan::{Content, Kernel, Param, Record, Role};
use crate::quant::{Format, Weight};
use bytemuck::{AnyBitPattern, NoUninit};
use std::marker::PhantomData;

/// An operation: its signature, its shader, and its twin in plain Rust.
pub struct Operation {
    /// Name, parameters and arguments.
    pub kernel: Kernel,
    /// The shader's text: shared functions first, then the kernel's own file.
    pub wgsl: &'static [&'static str],
    /// The same computation in plain Rust; the shader must equal it.
    pub twin: fn(Call<'_>),
    /// The same, fast on a CPU, where somebody wrote it.
    pub fast: Option<fn(Call<'_>, &Pool)>,
    /// Arguments that have a row for each row of the output: the fast form may be called on some of these rows at a time. None where
    /// rows hang together, or it is never long.
    pub by_row: &'static [&'static str],
}

impl Operation {
    /// The shader's whole text: the weight format's file, shared functions, the kernel's own file.
    pub fn text(&self, format: Option<&Format>) -> String {
        let files = format.into_iter().flat_map(|format| format.wgsl).chain(self.wgsl).copied();
        files.collect::<Vec<_>>().join("\n")
    }
}

impl From<&'static Operation> for &'static Kernel {
    fn from(operation: &'static Operation) -> &'static Kernel {
        &operation.kernel
    }
}

/// What a twin is called with, before its arguments have names.
pub struct Call<'a> {
    /// The words of its parameters.
    pub params: &'a [u32],
    /// The words of its arguments.
    pub args: Vec<Words<'a>>,
    /// The weight matrix it reads, if it does.
    pub weight: Option<Weight<'a>>,
}

/// An argument's memory.
pub enum Words<'a> {
    /// To read.
    Read(&'a [u32]),
    /// To read and write.
    Write(&'a mut [u32]),
}

impl<'a> Words<'a> {
    fn read(self) -> &'a [u32] {
        match self {
            Words::Read(words) => words,
            Words::Write(words) => words,
        }
    }

    fn write(self) -> &'a mut [u32] {
        match self {
            Words::Read(_) => panic!("an argument that is only read"),
            Words::Write(words) => words,
        }
    }
}

/// The declared type of an argument: its role, and what its buffer holds.
pub(super) trait Argument {
    const ROLE: Role;
    const CONTENT: Content;

    /// What the twin gets.
    type View<'a>;

    fn view(words: Words<'_>) -> Self::View<'_>;
}

/// Read only: `&[T]`.
pub(super) struct In<T>(PhantomData<T>);

/// Read, and written in place: `&mut [T]`.
pub(super) struct InOut<T>(PhantomData<T>);

/// Written; the previous content does not matter: `&mut [T]`.
pub(super) struct Out<T>(PhantomData<T>);

/// A record that is read: `T`.
pub(super) struct One<T>(PhantomData<T>);

/// A record that is written.
pub(super) struct Made<T>(PhantomData<T>);

/// Records that are read, one after the other: `Vec<T>`.
pub(super) struct Each<T>(PhantomData<T>);

/// A number that a buffer may hold: `f32` or `u32`.
pub(super) trait Number: Param + AnyBitPattern + NoUninit {}

impl Number for f32 {}
impl Number for u32 {}

impl<T: Number> Argument for In<T> {
    const ROLE: Role = Role::In;
    const CONTENT: Content = Content::Numbers(T::FIELD);
    type View<'a> = &'a [T];

    fn view(words: Words<'_>) -> &[T] {
        bytemuck::cast_slice(words.read())
    }
}

impl<T: Number> Argument for InOut<T> {
    const ROLE: Role = Role::InOut;
    const CONTENT: Content = Content::Numbers(T::FIELD);
    type View<'a> = &'a mut [T];

    fn view(words: Words<'_>) -> &mut [T] {
        bytemuck::cast_slice_mut(words.write())
    }
}

impl<T: Number> Argument for Out<T> {
    const ROLE: Role = Role::Out;
    const CONTENT: Content = Content::Numbers(T::FIELD);
    type View<'a> = &'a mut [T];

    fn view(words: Words<'_>) -> &mut [T] {
        bytemuck::cast_slice_mut(words.write())
    }
}

impl<T: Record> Argument for One<T> {
    const ROLE: Role = Role::In;
    const CONTENT: Content = Content::Record(T::FIELDS);
    type View<'a> = T;

    /// A kernel that ignores its record may be given any buffer: what that lacks reads as 0.
    fn view(words: Words<'_>) -> T {
        let words = words.read().iter().copied().chain(std::iter::repeat(0));
        T::of(&words.take(T::WORDS).collect::<Vec<_>>())
    }
}

/// Where a record is written.
pub(super) struct Slot<'a, T> {
    words: &'a mut [u32],
    record: PhantomData<T>,
}

impl<T: Record> Slot<'_, T> {
    pub(super) fn set(self, record: T) {
        self.words.copy_from_slice(&record.words());
    }
}

impl<T: Record> Argument for Made<T> {
    const ROLE: Role = Role::Out;
    const CONTENT: Content = Content::Record(T::FIELDS);
    type View<'a> = Slot<'a, T>;

    fn view(words: Words<'_>) -> Slot<'_, T> {
        Slot { words: words.write(), record: PhantomData }
    }
}

impl<T: Record> Argument for Each<T> {
    const ROLE: Role = Role::In;
    const CONTENT: Content = Content::Records(T::FIELDS);
    type View<'a> = Vec<T>;

    fn view(words: Words<'_>) -> Vec<T> {
        words.read().chunks_exact(T::WORDS).map(T::of).collect()
    }
}

/// Declares a kernel.
///
/// ```text
/// kernel! {
///     /// y = a + b.
///     ADD: add {
///         wgsl: [wgsl!("add.wgsl")],
///         params { n_embd: usize }
///         args { a: In<f32>, b: In<f32>, y: Out<f32> }
///         twin: twin,
///     }
/// }
///
/// fn twin(p: &add::Params, a: add::Args<'_>) { … }
/// ```
///
/// This makes the static `ADD`, an [`Operation`], and the module `add` with `Params`, its values by name; `Bufs`, its arguments as
/// buffers of a plan; and `Args`, its arguments as slices.
///
/// - `ADD: add(weight)` reads a weight matrix: the twin gets a [`Weight`] as its third argument.
/// - `params Heads` names a record that several kernels share.
/// - `fast: fast,` after the twin adds a fast form, which gets the pool as its last argument; `by_row: [q, out],` after that names the
///   arguments of which it may be given some rows at a time.
/// - `MATVEC: matvec = MATMUL { wgsl: [...] }` declares another shader for the same operation.
macro_rules! kernel {
    (
        $(#[$doc:meta])*
        $operation:ident: $name:ident = $same:ident { wgsl: [$($wgsl:expr),* $(,)?] $(,)? }
    ) => {
        $(#[$doc])*
        pub(super) static $operation: $crate::kernel::Operation = $crate::kernel::Operation {
            kernel: $crate::plan::Kernel { name: stringify!($name), ..$same.kernel },
            wgsl: &[$($wgsl),*],
            ..$same
        };
    };
    ($(#[$doc:meta])* $operation:ident: $name:ident(weight) { $($rest:tt)* }) => {
        $crate::kernel::declare::kernel!(@declare [weight] $(#[$doc])* $operation: $name { $($rest)* });
    };
    ($(#[$doc:meta])* $operation:ident: $name:ident { $($rest:tt)* }) => {
        $crate::kernel::declare::kernel!(@declare [] $(#[$doc])* $operation: $name { $($rest)* });
    };
    (@declare $weight:tt
        $(#[$doc:meta])*
        $operation:ident: $name:ident {
            wgsl: [$($wgsl:expr),* $(,)?],
            params $params:tt
            args { $($arg:ident: $arg_type:ty),* $(,)? }
            twin: $twin:path,
            $(fast: $fast:path,)?
            $(by_row: [$($by_row:ident),*],)?
        }
    ) => {
        $(#[$doc])*
        pub(super) static $operation: $crate::kernel::Operation = $crate::kernel::Operation {
            kernel: $crate::plan::Kernel {
                name: stringify!($name),
                params: <$name::Params as $crate::plan::Record>::FIELDS,
                args: $name::ARGS,
                weight: $crate::kernel::declare::kernel!(@reads $weight),
            },
            wgsl: &[$($wgsl),*],
            twin: |call| $crate::kernel::declare::kernel!(@call $name, $twin, $weight, call),
            fast: $crate::kernel::declare::kernel!(@fast $name, $weight $(, $fast)?),
            by_row: &[$($(stringify!($by_row)),*)?],
        };

        mod $name {
            #[allow(unused_imports, reason = "only some kernels have parameters of the file's own types")]
            use super::*;
            #[allow(unused_imports, reason = "few kernels have arguments of every type")]
            use $crate::kernel::declare::{Argument, Each, In, InOut, Made, One, Out, Words};
            use $crate::plan::{Arg, Buf};

            $crate::kernel::declare::kernel!(@params $params);

            #[derive(Clone, Copy)]
            pub(super) struct Bufs { $(pub(super) $arg: Buf),* }

            impl $crate::plan::Bufs for Bufs {
                type Params = Params;

                fn in_order(self) -> Vec<Buf> {
                    vec![$(self.$arg),*]
                }
            }

            #[allow(dead_code, reason = "a twin may do without some of the shader's arguments")]
            pub(super) struct Args<'a> { $(pub(super) $arg: <$arg_type as Argument>::View<'a>),* }

            impl<'a> Args<'a> {
                pub(super) fn of(args: Vec<Words<'a>>) -> Args<'a> {
                    let Ok([$($arg),*]) = <[Words<'a>; _]>::try_from(args) else {
                        panic!("{}: as many arguments as declared", stringify!($name));
                    };
                    Args { $($arg: <$arg_type as Argument>::view($arg)),* }
                }
            }

            pub(super) const ARGS: &[Arg] = &[$(Arg {
                name: stringify!($arg),
                role: <$arg_type as Argument>::ROLE,
                content: <$arg_type as Argument>::CONTENT,
            }),*];
        }
    };
    (@params { $($param:ident: $type:ty),* $(,)? }) => {
        $crate::plan::record! {
            pub(super) struct Params { $(pub(super) $param: $type),* }
        }
    };
    (@params $shared:ident) => {
        pub(super) type Params = $shared;
    };
    (@reads []) => { false };
    (@reads [weight]) => { true };
    (@fast $name:ident, $weight:tt) => { None };
    (@fast $name:ident, $weight:tt, $fast:path) => {
        Some(|call, pool| $crate::kernel::declare::kernel!(@call $name, $fast, $weight, call, pool))
    };
    (@call $name:ident, $form:path, [$($weight:ident)?], $call:ident $(, $pool:ident)?) => {
        $form(
            &<$name::Params as $crate::plan::Record>::of($call.params),
            $name::Args::of($call.args)
            $(, $call.$weight.expect("the step has a weight"))?
            $(, $pool)?
        )
    };
}

pub(super) use kernel;

#[cfg(test)]
mod tests {
    use super::{Call, Words};
    use crate::kernel::Pool;
    use crate::plan::{Bufs, Plan, Record, Role};
    use crate::quant::{F32, Weight};

    kernel! {
        /// y = scale · (the row of a matrix + x).
        SCALED: scaled(weight) {
            wgsl: [],
            params { row: usize, scale: f32 }
            args { x: In<f32>, y: Out<f32> }
            twin: twin,
            fast: fast,
        }
    }

    fn twin(p: &scaled::Params, a: scaled::Args<'_>, w: Weight<'_>) {
        w.row(p.row, a.y);
        a.y.iter_mut().zip(a.x).for_each(|(y, x)| *y = p.scale * (*y + x));
    }

    fn fast(p: &scaled::Params, a: scaled::Args<'_>, w: Weight<'_>, _pool: &Pool) {
        twin(p, a, w);
    }

    #[test]
    fn a_declaration_names_what_a_call_passes() {
        let roles: Vec<_> = SCALED.kernel.args.iter().map(|arg| (arg.name, arg.role)).collect();
        assert_eq!(roles, [("x", Role::In), ("y", Role::Out)]);
        let mut plan = Plan::new("test");
        let [x, y] = ["x", "y"].map(|name| plan.scratch(name, &[4]));
        assert_eq!(scaled::Bufs { x, y }.in_order(), [x, y]);
        let params = scaled::Params { row: 1, scale: 2.0 };
        let x = [0.5f32, -1.0, 0.0, 4.0].map(f32::to_bits);
        let qs: Vec<u32> = (0..8u8).map(|i| f32::from(i).to_bits()).collect();
        for is_fast in [false, true] {
            let mut y = [0; 4];
            let call = Call {
                params: &params.words(),
                args: vec![Words::Read(&x), Words::Write(&mut y)],
                weight: Some(Weight { format: &F32, qs: &qs, scales: &[], rows: 2, cols: 4 }),
            };
            match SCALED.fast.filter(|_| is_fast) {
                Some(fast) => fast(call, &Pool::new(1)),
                None => (SCALED.twin)(call),
            }
            assert_eq!(y.map(f32::from_bits), [9.0, 8.0, 12.0, 22.0]);
        }
    }
}
