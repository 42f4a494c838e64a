//! Two programs. Built by `cargo xtask fuzz`, with `--cfg fuzzing`, it is libFuzzer's: it makes inputs for the target that
//! `WEBREFT_FUZZ` names. Built as usual it writes the first inputs of each target into a folder of the target's name.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use std::sync::LazyLock;
    use webreft_fuzz::Target;

    static TARGET: LazyLock<Target> = LazyLock::new(|| {
        let name = std::env::var("WEBREFT_FUZZ").expect("WEBREFT_FUZZ names a target");
        Target::all().into_iter().find(|target| target.name() == name).expect("a target of this name")
    });
    TARGET.run(bytes);
});

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    let usage = || std::io::Error::other("usage: webreft-fuzz FOLDER");
    let folder = std::path::PathBuf::from(std::env::args_os().nth(1).ok_or_else(usage)?);
    for target in webreft_fuzz::Target::all() {
        let folder = folder.join(target.name());
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in target.seeds().into_iter().enumerate() {
            std::fs::write(folder.join(number.to_string()), seed)?;
        }
    }
    Ok(())
}
