//! `cargo xtask sizes`: figures about the sources, so that drift is seen; nothing fails on them.

use std::fs;

use anyhow::Result;

use crate::{command, output, root};

/// Prints line counts of Rust files: median, 95th percentile, the longest, and tests against the rest.
pub fn run() -> Result<()> {
    let listed =
        output(command("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]))?;
    let mut files = Vec::new();
    for path in listed.lines() {
        if let Ok(text) = fs::read_to_string(root().join(path)) {
            files.push((text.lines().count(), test_lines(path, &text), path));
        }
    }
    files.sort_unstable();
    let at = |part: f64| {
        files
            .get(((files.len() - 1) as f64 * part) as usize)
            .map_or(0, |f| f.0)
    };
    let total: usize = files.iter().map(|f| f.0).sum();
    let tests: usize = files.iter().map(|f| f.1).sum();
    println!("{} Rust files, {total} lines, {tests} of them tests", files.len());
    println!(
        "lines a file: median {}, 95th percentile {}, longest {}",
        at(0.5),
        at(0.95),
        at(1.0)
    );
    println!("the ten longest:");
    for (lines, tests, path) in files.iter().rev().take(10) {
        println!("  {lines:5} ({tests} tests) {path}");
    }
    Ok(())
}

/// Lines that test: a whole file below a `tests` folder or called so, else what follows `#[cfg(test)]`.
fn test_lines(path: &str, text: &str) -> usize {
    if path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs") {
        return text.lines().count();
    }
    text.lines()
        .skip_while(|line| line.trim() != "#[cfg(test)]")
        .count()
}
