//! Figures as a table in Markdown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Measured, Place, Row};

/// Where the table begins in a text, and where it ends.
const MARKS: [&str; 2] = ["<!-- bench -->\n", "<!-- /bench -->"];

pub(super) fn table(measured: &Measured) -> String {
    let Measured { commit, cpu, cores, rows } = measured;
    let mut text = format!(
        "Measured at commit {commit} on {cores} cores of {cpu}. Rates are tokens a second; a step is LoReFT of rank 4.\n\n"
    );
    text += "| model | where | tokens | prefill | decode | step | step, states kept | memory | load |\n";
    text += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for row in rows {
        let Row { file, file_bytes, figures: it, .. } = row;
        let load = it.load_seconds;
        writeln!(
            text,
            "| {file}, {} | {} | {} × {} | {} | {} | {} ms | {} ms | {} | {load:.2} s |",
            megabytes(*file_bytes),
            place(row),
            it.sequences,
            it.tokens / it.sequences,
            digits(it.prefill_tokens_per_second),
            digits(it.decode_tokens_per_second),
            digits(it.step_ms),
            digits(it.kept_step_ms),
            memory(row),
        )
        .expect("a text takes everything");
    }
    text
}

fn place(row: &Row) -> String {
    let device = row.figures.adapter.as_deref().unwrap_or(&row.figures.device);
    match row.place {
        Place::NativeCpu1 | Place::NativeCpu | Place::NativeGpu => format!("native: {device}"),
        Place::ChromiumCpu | Place::ChromiumGpu => format!("Chromium: {device}"),
    }
}

/// What the process or the browser's worker takes at the most, and what a GPU takes beside it.
fn memory(row: &Row) -> String {
    let it = &row.figures;
    let heap = it.wasm_bytes.map(|bytes| format!("{} wasm heap", megabytes(bytes)));
    let process = it.peak_rss.map(|bytes| format!("{} process", megabytes(bytes)));
    let gpu = (it.backend == "gpu").then(|| format!("{} on the GPU", megabytes(it.tensor_bytes)));
    [heap, process, gpu].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", digits(bytes as f64 / 1e6))
}

/// Three digits, or all of those before the point.
fn digits(value: f64) -> String {
    match value {
        10.0..100.0 => format!("{value:.1}"),
        value if value < 10.0 => format!("{value:.2}"),
        value => format!("{value:.0}"),
    }
}

/// Puts a table between the marks of a file.
pub(super) fn put_into(file: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let text = replaced(&text, table).with_context(|| format!("{}: expected {MARKS:?}", file.display()))?;
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some([before, MARKS[0], table, MARKS[1], after].concat())
}

#[cfg(test)]
mod tests {
    use super::{digits, replaced};

    #[test]
    fn what_stands_between_the_marks_is_replaced() {
        let text = "a\n<!-- bench -->\nold\n<!-- /bench -->\nb\n";
        assert_eq!(
            replaced(text, "| new |\n").as_deref(),
            Some("a\n<!-- bench -->\n| new |\n<!-- /bench -->\nb\n")
        );
        assert_eq!(replaced("a\n<!-- bench -->\nb", ""), None);
    }

    #[test]
    fn three_digits_are_told_or_all_before_the_point() {
        assert_eq!(
            [0.123, 9.5, 12.34, 99.96, 123.4, 2102.4].map(digits),
            ["0.12", "9.50", "12.3", "100.0", "123", "2102"]
        );
    }
}
