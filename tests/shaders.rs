//! The shaders as naga reads them: valid, within WebGPU's default limits, and bound as their kernels say.

use naga::proc::Layouter;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Handle, Module, ScalarKind, StorageAccess, Type, TypeInner};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use webreft::kernel::{KERNELS, Operation};
use webreft::plan::{Content, Field, Fields, Kernel, Role};
use webreft::quant::{FORMATS, Format};

/// A kernel's text, and for kernels with a weight its text for each format.
fn texts(operation: &Operation) -> Vec<(String, Option<&'static Format>, String)> {
    let kernel = &operation.kernel;
    let formats: Vec<_> = if kernel.weight { FORMATS.map(Some).to_vec() } else { vec![None] };
    let text = |format: Option<&'static Format>| {
        let name = format.map_or(kernel.name.to_owned(), |f| format!("{} of {}", kernel.name, f.name));
        (name, format, operation.text(format))
    };
    formats.into_iter().map(text).collect()
}

fn parsed(name: &str, text: &str) -> Module {
    let module = naga::front::wgsl::parse_str(text);
    let module = module.unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(text)));
    let webgpu = Capabilities::SHADER_FLOAT16_IN_FLOAT32; // unpack2x16float
    let mut validator = Validator::new(ValidationFlags::all(), webgpu);
    if let Err(error) = validator.validate(&module) {
        panic!("{name}: {}", error.emit_to_string(text));
    }
    module
}

/// Runs a check over every text of every kernel.
fn each(check: impl Fn(&str, &Kernel, Option<&Format>, &Module)) {
    for operation in KERNELS {
        for (name, format, text) in texts(operation) {
            check(&name, &operation.kernel, format, &parsed(&name, &text));
        }
    }
}

/// Names and address spaces of one group's variables; they are numbered from 0 on.
fn bound(name: &str, module: &Module, group: u32) -> Vec<(String, AddressSpace)> {
    let variables = module.global_variables.iter().filter_map(|(_, variable)| {
        let at = variable.binding.filter(|at| at.group == group)?;
        Some((at.binding, (variable.name.clone().unwrap_or_default(), variable.space)))
    });
    let mut variables: Vec<_> = variables.collect();
    variables.sort_by_key(|(binding, _)| *binding);
    assert!(variables.iter().map(|(binding, _)| *binding).eq(0..variables.len() as u32), "{name}: bindings");
    variables.into_iter().map(|(_, variable)| variable).collect()
}

fn storage(name: &str, role: Role) -> (String, AddressSpace) {
    let access =
        if role == Role::In { StorageAccess::LOAD } else { StorageAccess::LOAD | StorageAccess::STORE };
    (name.to_owned(), AddressSpace::Storage { access })
}

#[test]
fn bindings_are_params_and_the_kernels_arguments_in_order() {
    each(|name, kernel, _, module| {
        let args = kernel.args.iter().map(|arg| storage(arg.name, arg.role));
        let want: Vec<_> =
            std::iter::once(("params".to_owned(), AddressSpace::Uniform)).chain(args).collect();
        assert_eq!(bound(name, module, 0), want, "{name}");
    });
}

#[test]
fn a_weights_bindings_are_its_quants_and_its_scales() {
    each(|name, _, format, module| {
        let names =
            format.map_or(&[][..], |f| if f.scale_bytes > 0 { &["w_qs", "w_scales"] } else { &["w_qs"] });
        let want: Vec<_> = names.iter().map(|name| storage(name, Role::In)).collect();
        assert_eq!(bound(name, module, 1), want, "{name}");
    });
}

/// A type as words: a scalar, a vector or a matrix.
fn field(name: &str, ty: &TypeInner) -> Field {
    match ty.scalar() {
        Some(scalar) if scalar.kind == ScalarKind::Float => Field::F32,
        Some(_) => Field::U32,
        None => panic!("{name}: {ty:?} is no number"),
    }
}

/// The fields of a struct, each with its offset.
fn fields(name: &str, module: &Module, ty: Handle<Type>) -> Vec<(u32, String, Field)> {
    let TypeInner::Struct { members, .. } = &module.types[ty].inner else { panic!("{name}: no struct") };
    let members = members.iter().map(|member| {
        let ty = &module.types[member.ty].inner;
        assert!(matches!(ty, TypeInner::Scalar(_)), "{name}: {:?} is no number", member.name);
        (member.offset, member.name.clone().unwrap_or_default(), field(name, ty))
    });
    members.collect()
}

/// Asserts that fields are these, a word each.
fn assert_are(name: &str, fields: &[(u32, String, Field)], want: Fields) {
    let want = (0..).step_by(4).zip(want).map(|(offset, (name, ty))| (offset, (*name).to_owned(), *ty));
    assert_eq!(fields, want.collect::<Vec<_>>(), "{name}");
}

/// Asserts that a type is a struct of these fields, a word each.
fn assert_fields(name: &str, module: &Module, ty: Handle<Type>, want: Fields) {
    assert_are(name, &fields(name, module, ty), want);
}

#[test]
fn params_are_the_kernels_fields_word_by_word() {
    each(|name, kernel, _, module| {
        let params = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Params"));
        let (ty, _) = params.unwrap_or_else(|| panic!("{name}: no Params"));
        let mut members = fields(name, module, ty);
        members.truncate(members.len() - usize::from(reads_lines(module)));
        assert_are(name, &members, kernel.params);
    });
}

/// Whether the last of a shader's params is the number of lines of its grid, which the backend writes.
fn reads_lines(module: &Module) -> bool {
    let params = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Params"));
    let Some(TypeInner::Struct { members, .. }) = params.map(|(_, ty)| &ty.inner) else { return false };
    members.last().is_some_and(|member| member.name.as_deref() == Some("lines"))
}

/// Kernels whose grids are small, whatever the model and the batch, or that fold their own.
const NOT_FOLDED: [&str; 23] = [
    "binary_cross_entropy",  // sequences, by 64
    "boundary_backward",     // one workgroup
    "dense_params",          // columns by 64, outputs of a head or encoder
    "detect_backward",       // columns by 64
    "grad_norm",             // one workgroup
    "learned_rows_backward", // columns by 64, learned rows
    "lowrank_edit_params",   // columns by 64, rank
    "magnitude",             // columns by 64
    "magnitude_backward",    // columns by 64
    "matmul",                // outputs by 64, tokens by 64
    "matmul_backward",       // inputs by 64, tokens by 64
    "matvec",                // folds its own
    "preference",            // pairs by 64
    "product",               // D by 64, D
    "reward_loss",           // pairs by 64
    "rotation",              // rank
    "rotation_backward",     // one workgroup
    "sample",                // sequences
    "scale_rows_backward",   // columns by 64
    "skew",                  // D by 64, D
    "skew_backward",         // D by 64, D
    "squared_error",         // sequences, by 64
    "unit_row",              // one workgroup
];

/// A dispatch has at most 65,535 workgroups in a dimension. The backend folds larger grids: shaders must find their place by
/// `num_workgroups`.
#[test]
fn shaders_of_large_grids_can_be_folded() {
    each(|name, kernel, _, module| {
        let reads_groups =
            module.entry_points[0].function.arguments.iter().any(|argument| {
                argument.binding == Some(naga::Binding::BuiltIn(naga::BuiltIn::NumWorkGroups))
            });
        assert!(reads_groups != NOT_FOLDED.contains(&kernel.name), "{name}: num_workgroups");
        assert!(reads_groups || !reads_lines(module), "{name}: lines without num_workgroups");
    });
}

#[test]
fn arguments_hold_what_the_kernel_declares() {
    each(|name, kernel, _, module| {
        for arg in kernel.args {
            let name = format!("{name}: {}", arg.name);
            let variables = || module.global_variables.iter().map(|(_, variable)| variable);
            let variable = variables().find(|v| v.name.as_deref() == Some(arg.name)).expect("it is bound");
            let element = match module.types[variable.ty].inner {
                TypeInner::Array { base, .. } => Some(base),
                _ => None,
            };
            match (arg.content, element) {
                (Content::Numbers(want), Some(ty)) => {
                    assert_eq!(field(&name, &module.types[ty].inner), want, "{name}");
                }
                (Content::Record(fields), None) => assert_fields(&name, module, variable.ty, fields),
                (Content::Records(fields), Some(ty)) => assert_fields(&name, module, ty, fields),
                (content, _) => panic!("{name}: expected {content:?}"),
            }
        }
    });
}

#[test]
fn every_kernel_stays_within_webgpus_default_limits() {
    each(|name, _, _, module| {
        let [entry] = module.entry_points.as_slice() else { panic!("{name}: one entry point") };
        assert_eq!(entry.name, "main", "{name}");
        let [x, y, z] = entry.workgroup_size;
        assert!(x * y * z <= 256 && z <= 64, "{name}: workgroup of {x} x {y} x {z}");
        let mut layouter = Layouter::default();
        layouter.update(module.to_ctx()).expect("a valid module has a layout");
        let variables = || module.global_variables.iter().map(|(_, variable)| variable);
        let shared = variables().filter(|v| v.space == AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|variable| layouter[variable.ty].size).sum();
        assert!(bytes <= 16384, "{name}: {bytes} bytes of workgroup memory");
        let buffers = variables().filter(|v| matches!(v.space, AddressSpace::Storage { .. })).count();
        assert!(buffers <= 8, "{name}: {buffers} storage buffers");
    });
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where the build script puts a shader without its comments.
fn built(name: &str) -> PathBuf {
    Path::new(env!("OUT_DIR")).join("shaders").join(name)
}

/// Name and text of each file of a folder.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries =
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").path());
    let files = entries.filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read_to_string(path).expect("it is text"))).collect()
}

fn stems(folder: &str) -> BTreeSet<String> {
    let files = files(&root().join(folder)).into_iter();
    files.map(|(path, _)| path.file_stem().expect("it has a name").to_string_lossy().into_owned()).collect()
}

#[test]
fn every_file_of_shaders_belongs_to_a_kernel_or_a_format() {
    assert_eq!(stems("shaders"), KERNELS.iter().map(|operation| operation.kernel.name.to_owned()).collect());
    assert_eq!(stems("shaders/quant"), FORMATS.iter().map(|format| format.name.to_lowercase()).collect());
    for (path, text) in files(&built("lib")) {
        let mut users =
            KERNELS.iter().map(|operation| operation.wgsl).chain(FORMATS.map(|format| format.wgsl));
        assert!(
            users.any(|files| files.contains(&text.as_str())),
            "{} is in no kernel and no format",
            path.display()
        );
    }
}

#[test]
fn a_kernels_last_file_bears_its_name() {
    for operation in KERNELS {
        let kernel = &operation.kernel;
        let text = fs::read_to_string(built(kernel.name).with_extension("wgsl")).expect("the kernel's file");
        assert_eq!(operation.wgsl.last(), Some(&text.as_str()), "{}", kernel.name);
    }
}

#[test]
fn no_wgsl_stands_in_rust() {
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for (path, text) in files(&folder) {
            for sign in ["@compute", "@group", "var<"] {
                assert!(!text.contains(sign), "{}: {sign}", path.display());
            }
        }
        let entries = fs::read_dir(&folder).expect("the folder is there").flatten();
        folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
}

/// WGSL zeroes `var x: T;` at each turn of a loop; Chromium 156 does not. Arrays are filled before they are read.
#[test]
fn variables_begin_with_a_value() {
    for operation in KERNELS {
        for (name, _, text) in texts(operation) {
            let bare = |line: &&str| {
                line.starts_with("var ") && !line.contains(['=', '@']) && !line.contains("array<")
            };
            let found: Vec<&str> = text.lines().map(str::trim).filter(bare).collect();
            assert!(found.is_empty(), "{name}: {found:?}");
        }
    }
}
