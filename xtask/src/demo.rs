//! The demo: built, then served for a person, or driven in a headless browser.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::serve::serve;
use crate::shell::{command, which};
use crate::{tools, wasm, www};

/// How the demo is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Drive the page in a headless Chromium and print each phase as a line of JSON
    #[arg(long)]
    headless: bool,
    /// Who computes; if left out the page's own choice, and with --headless the GPU, then the CPU
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// The port on localhost; any free one if left out
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Who computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// The browser's adapter; in a headless one a program in place of a GPU
    Gpu,
    /// The CPU
    Cpu,
}

impl Backend {
    const ALL: [Backend; 2] = [Backend::Gpu, Backend::Cpu];

    fn name(self) -> &'static str {
        match self {
            Backend::Gpu => "gpu",
            Backend::Cpu => "cpu",
        }
    }
}

pub(crate) fn demo(options: &Options) -> Result<()> {
    wasm::build()?;
    let folder = www::build()?;
    if options.headless {
        return headless(options.port, options.backend);
    }
    let served = serve(&folder, options.port)?;
    let address =
        options.backend.map_or(served.clone(), |backend| format!("{served}?backend={}", backend.name()));
    println!("webreft is at {address} (Ctrl-C ends it)");
    std::io::stdout().flush()?;
    open(&address);
    loop {
        thread::park();
    }
}

/// Serves the page that was built and takes it through the main job, on one backend or on each in turn; fails where the page does.
pub(crate) fn headless(port: u16, backend: Option<Backend>) -> Result<()> {
    let chromium = tools::chromium()?;
    let address = serve(&www::dir().join("demo/dist"), port)?;
    for backend in Backend::ALL.into_iter().filter(|each| backend.is_none_or(|asked| asked == *each)) {
        let name = backend.name();
        let status = command(&www::dir(), &format!("node demo/headless.mjs {address} {name}"))
            .env("WEBREFT_CHROMIUM", &chromium)
            .stdin(Stdio::null())
            .status()
            .context("could not start node")?;
        if !status.success() {
            bail!("the page failed in headless Chromium on the backend {name}");
        }
    }
    Ok(())
}

/// Opens the visitor's browser, if there is one.
fn open(address: &str) {
    let mut opener = if cfg!(windows) {
        let mut start = Command::new("cmd");
        start.args(["/C", "start", ""]);
        start
    } else {
        Command::new(if cfg!(target_os = "macos") { "open" } else { "xdg-open" })
    };
    if cfg!(windows) || which(&opener.get_program().to_string_lossy()).is_some() {
        let _ = opener.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}
