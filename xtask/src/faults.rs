//! What outlives kills and long use, in headless Chromium; with `--all` every fault at every place.

use anyhow::Result;

use crate::serve::serve;
use crate::shell::{command, root, run};
use crate::{tools, www};

/// Tiny, with random weights.
const MODEL: &str = "tests/golden/llama/model-q8_0.gguf";

/// How often things are done.
struct Counts {
    kills: u32,
    loads: u32,
    steps: u32,
    answers: u32,
}

/// What `cargo xtask test` has time for. The package must be built.
pub(crate) fn some() -> Result<()> {
    long_use(&Counts { kills: 6, loads: 20, steps: 1_000, answers: 200 })
}

/// Every fault at every place, and long use. The package must be built.
pub(crate) fn all() -> Result<()> {
    let everywhere = ("WEBREFT_FAULTS", "all");
    let points = "cargo test --package webreft --test faults -- --nocapture points";
    run(command(&root(), points).env(everywhere.0, everywhere.1))?;
    let chromium = tools::chromium()?;
    let mut browser = www::script("test:faults");
    run(browser.env(everywhere.0, everywhere.1).env("WEBREFT_CHROMIUM", chromium))?;
    long_use(&Counts { kills: 150, loads: 300, steps: 20_000, answers: 5_000 })
}

fn long_use(counts: &Counts) -> Result<()> {
    let Counts { kills, loads, steps, answers } = counts;
    let chromium = tools::chromium()?;
    let address = serve(&www::dir().join("webreft"), 0)?;
    let model = root().join(MODEL);
    for (script, how) in
        [("kills.mjs", format!("{kills} 1")), ("soak.mjs", format!("{loads} {steps} {answers}"))]
    {
        let mut node = command(&www::dir(), &format!("node {script} {address}"));
        node.arg(&model).args(how.split(' '));
        run(node.env("WEBREFT_CHROMIUM", &chromium))?;
    }
    Ok(())
}
