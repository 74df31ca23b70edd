//! What keeps a model's code away from the rest of the machine.
//!
//! Our own program applies it to itself and then becomes the interpreter ([`worker_exec`]), so that nothing of the
//! interpreter runs outside. The layers: an empty environment, no capabilities, no new privileges, files by Landlock,
//! system calls by seccomp, limits of resources, death with the parent, and where the kernel lets us a process
//! namespace. Source: the kernel's `userspace-api/landlock` and `userspace-api/seccomp_filter`.

mod calls;
mod exec;
mod files;
mod guard;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use self::exec::NOT_FENCED;
pub use self::exec::worker_exec;

/// What a fenced process may do; handed to `worker-exec` as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FenceSpec {
    /// Folders and files to read and execute.
    pub read: Vec<PathBuf>,
    /// Folders and files to do everything with.
    pub write: Vec<PathBuf>,
    /// Whether sockets of the internet families may be opened.
    pub allow_network: bool,
    /// Whether the modes of files may be changed, also of those that it does not own the folder of.
    #[serde(default)]
    pub allow_modes: bool,
    /// Whether to go on where the kernel lacks Landlock or seccomp.
    pub unfenced: bool,
    /// The process that must be alive, and with which this one dies.
    pub parent: u32,
    /// The arguments by which this program is told to be a worker, for the namespace that it makes.
    pub exec: Vec<String>,
    /// How many files may be open.
    pub max_files: u64,
    /// How long one file may become.
    pub max_file_bytes: u64,
}

/// What the kernel let us apply; part of a pool's status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Files are restricted by Landlock.
    pub files: bool,
    /// Signals to processes outside are refused (Landlock 6, Linux 6.12, or a process namespace).
    pub signals: bool,
    /// System calls are filtered by seccomp.
    pub calls: bool,
    /// Sockets of the internet families are refused.
    pub no_network: bool,
    /// All capabilities are dropped, and none can be gained.
    pub no_privileges: bool,
    /// Its processes live in a namespace of their own, and end with it.
    pub processes: bool,
}

impl Fence {
    /// Whether code that nobody vouches for may run inside.
    pub fn holds(&self) -> bool {
        self.files && self.calls && self.no_privileges
    }
}
