//! CPU time and memory of a server: of its process and everything below it, from `/proc`.

use std::{
    collections::HashMap,
    fs, thread,
    time::{Duration, Instant},
};

/// `/proc/PID/stat` counts in hundredths of a second on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// One line of `/proc/PID/stat`: who started it and how much it has computed.
struct Stat {
    parent: u32,
    /// Its own user and system time and that of children that have ended.
    ticks: u64,
}

/// Every process, by id.
fn processes() -> HashMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses, which may hold anything.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        ticks: (14..=17).filter_map(number).sum(),
    })
}

/// The process and all that it started, directly or not.
pub fn tree(root: u32) -> Vec<u32> {
    below(root, &processes())
}

fn below(root: u32, all: &HashMap<u32, Stat>) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(
            all.iter()
                .filter(|(_, s)| s.parent == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    found
}

/// Seconds of user and system time that the tree has used so far, ended children included; 10 ms steps.
pub fn cpu_seconds(root: u32) -> f64 {
    let all = processes();
    let ticks: u64 = below(root, &all)
        .iter()
        .filter_map(|pid| Some(all.get(pid)?.ticks))
        .sum();
    #[expect(
        clippy::cast_precision_loss,
        reason = "hundredths of seconds stay far below 2^52"
    )]
    let ticks = ticks as f64;
    ticks / TICKS_PER_SECOND
}

/// Proportional set size of the tree in MiB: shared pages count once, divided among those who share them.
pub fn pss_mib(root: u32) -> f64 {
    held_mib(root, "Pss:")
}

/// Resident set sizes of the tree in MiB, added up: shared pages count with each process that has them.
pub fn rss_mib(root: u32) -> f64 {
    held_mib(root, "Rss:")
}

fn held_mib(root: u32, field: &str) -> f64 {
    let held = tree(root).into_iter().map(|pid| held_kib(pid, field));
    held.sum::<f64>() / 1024.0
}

fn held_kib(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0.0)
}

/// Waits until the trees have all but stopped computing for half a second, at most `limit`.
pub fn settle(roots: &[u32], limit: Duration) {
    let end = Instant::now() + limit;
    let total = || roots.iter().map(|root| cpu_seconds(*root)).sum::<f64>();
    let (mut before, mut quiet) = (total(), 0);
    while Instant::now() < end && quiet < 2 {
        thread::sleep(Duration::from_millis(250));
        let now = total();
        // Up to 8 % of a core is what an idle reference server uses anyway.
        quiet = if now - before <= 0.021 { quiet + 1 } else { 0 };
        before = now;
    }
}
