//! How much memory processes hold, read from /proc.

use std::{collections::HashMap, fs};

/// Resident bytes of one process; `None` once it has ended.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// Which process is whose child, over the whole machine. Reads a file for each process, so it is not for every tick.
pub(crate) struct Families(HashMap<u32, Vec<u32>>);

impl Families {
    /// Reads them; empty without /proc.
    pub fn read() -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            if let Some(parent) = parent_of(pid) {
                children.entry(parent).or_default().push(pid);
            }
        }
        Self(children)
    }

    /// All that descend from `pid`, without itself.
    pub fn descendants(&self, pid: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let mut next = vec![pid];
        while let Some(pid) = next.pop() {
            // a number may be reused while they are read; no family is as large as to matter then
            let children = self.0.get(&pid).map(Vec::as_slice).unwrap_or_default();
            let fresh: Vec<_> = children
                .iter()
                .copied()
                .filter(|child| !found.contains(child))
                .collect();
            found.extend(&fresh);
            next.extend(fresh);
        }
        found
    }
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name in parentheses may hold anything, so what follows the last one counts
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_has_memory_and_children() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 1 << 16);
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(Families::read().descendants(pid).contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(resident_bytes(child.id()), None);
    }
}
