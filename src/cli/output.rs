//! What is printed: results on standard output, warnings on standard error.

use serde::Serialize;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::process;

/// Prints text as it is. Where nobody reads any more, as after `| head`, the program ends.
pub(super) fn print(text: &str) {
    let mut out = io::stdout();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        process::exit(0);
    }
}

/// Prints a value as one line of JSON.
pub(super) fn print_json(value: &impl Serialize) {
    let line = serde_json::to_string(value).expect("plain data");
    print(&format!("{line}\n"));
}

/// Prints a warning.
pub(super) fn warn(warning: impl Display) {
    eprintln!("webreft: {warning}");
}

/// Rows of cells as lines, the columns aligned.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |at: usize| rows.iter().filter_map(move |row| row.get(at));
    let widths: Vec<usize> =
        (0..n_columns).map(|at| cells(at).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A number of bytes: `98.4 MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.into_iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", count as f64 / unit as f64),
        None => format!("{count} B"),
    }
}

/// A count: `4,644`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, table};

    #[test]
    fn numbers_are_printed_in_groups_and_units() {
        assert_eq!([count(7), count(4_644), count(134_515_008)], ["7", "4,644", "134,515,008"]);
        assert_eq!([bytes(999), bytes(98_400_000), bytes(1_230_000_000)], ["999 B", "98.4 MB", "1.2 GB"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "bcd"], ["abc", "d"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "a    bcd\nabc  d\n");
    }
}
