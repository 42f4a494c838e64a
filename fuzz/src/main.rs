//! libFuzzer's program, built by `cargo xtask fuzz`: it makes inputs for the target that `WEBREFT_FUZZ` names. With
//! `WEBREFT_FUZZ_SEEDS` it does nothing but write the first inputs of each target into a folder of the target's name there.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
use std::sync::LazyLock;
#[cfg(fuzzing)]
use webreft_fuzz::Target;

#[cfg(fuzzing)]
static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("WEBREFT_FUZZ").expect("WEBREFT_FUZZ names a target");
    Target::all().into_iter().find(|target| target.name() == name).expect("a target of this name")
});

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("WEBREFT_FUZZ_SEEDS") {
            webreft_fuzz::write_seeds(folder.as_ref()).expect("a folder to write to");
            std::process::exit(0);
        }
    },
    |bytes: &[u8]| {
        TARGET.run(bytes);
    }
);

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without a fuzzer: see `cargo xtask fuzz`");
}
