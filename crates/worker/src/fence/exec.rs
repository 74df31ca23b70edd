//! The way from our program to the fenced interpreter.

use std::{
    ffi::OsString,
    fmt::Display,
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use nix::sys::signal::SigSet;
use rustix::{
    process::{self, Resource, Rlimit, Signal},
    thread::{self, CapabilitySet, CapabilitySets},
};

use super::{Fence, FenceSpec, calls, files, guard::Guard};

/// The exit code by which a worker says that it could not be fenced (`EX_CONFIG` of sysexits).
pub(crate) const NOT_FENCED: u8 = 78;

/// How likely the kernel picks a worker when memory runs out; the platform itself stays at 0.
const OOM_SCORE: &str = "500";

/// The variable that tells the worker what was applied.
const FENCE_VARIABLE: &str = "LODEWAY_FENCE";

/// Fences the calling process and becomes the program in `args`, which are those after the sub-command:
/// `[--inner] SPEC -- PROGRAM ARGS…`.
///
/// Comes back only if that fails, after a line on standard error, with the code to exit with. To be called while the
/// process has one thread: Landlock and seccomp hold for the thread that asks for them and for what it becomes.
pub fn worker_exec(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter().peekable();
    let inner = args.next_if(|arg| arg == "--inner").is_some();
    let outcome = Request::read(args).and_then(|request| {
        if inner {
            request.inside()
        } else {
            request.outside()
        }
    });
    match outcome {
        Ok(code) => code,
        Err(why) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "worker-exec: {why}");
            ExitCode::from(NOT_FENCED)
        }
    }
}

/// What was asked for on the command line.
struct Request {
    text: OsString,
    spec: FenceSpec,
    program: Vec<OsString>,
}

impl Request {
    fn read(mut args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let text = args
            .next()
            .ok_or("the first argument is what may be done, as JSON")?;
        let spec = serde_json::from_slice(text.as_encoded_bytes()).map_err(|e| e.to_string())?;
        if args.next().is_none_or(|arg| arg != "--") {
            return Err("`--` and a program must follow".to_owned());
        }
        let program: Vec<_> = args.collect();
        Ok(Self { text, spec, program })
    }

    /// The first process: in a session of its own, mortal with the host. It stays: as the one outside of a process
    /// namespace, whose first process only a child can be, or where there is none as the one that ends what is left.
    fn outside(self) -> Result<ExitCode, String> {
        let own_processes = own_processes();
        let guard = if own_processes {
            process::set_parent_process_death_signal(Some(Signal::KILL))
                .map_err(told("death with the parent"))?;
            None
        } else {
            Some(Guard::new().map_err(told("death with the parent"))?)
        };
        let parent = process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if parent != Some(self.spec.parent) {
            return Err("the platform has ended meanwhile".to_owned());
        }
        // no terminal to write to; fails only for a leader of a group, which is as good
        let _ = process::setsid();
        close_inherited();
        let exe = std::env::current_exe().map_err(told("the path of this program"))?;
        let mut inner = Command::new(exe)
            .args(&self.spec.exec)
            .arg("--inner")
            .arg(&self.text)
            .arg("--")
            .args(&self.program)
            .spawn()
            .map_err(told("the process inside"))?;
        let status = match guard {
            None => inner.wait(),
            Some(guard) => guard.wait(&mut inner),
        };
        let code = status.map_err(told("the process inside"))?.code();
        Ok(code
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from))
    }

    /// The last process: applies every layer and becomes the program.
    fn inside(self) -> Result<ExitCode, String> {
        let Self { spec, program, .. } = self;
        process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(told("death with the parent"))?;
        // the guard blocks signals that the worker must hear
        SigSet::empty().thread_set_mask().map_err(told("signals"))?;
        // what a model's own children leave behind comes to the worker and not to init
        let _ = process::set_child_subreaper(Some(process::getpid()));
        limit(Resource::Core, 0)?;
        limit(Resource::Nofile, spec.max_files)?;
        limit(Resource::Fsize, spec.max_file_bytes)?;
        let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
        let (fence, missing) = apply(&spec);
        if !fence.holds() && !spec.unfenced {
            return Err(format!(
                "this kernel cannot fence a model ({}); only with `unfenced = \"allow\"` it would run all the same",
                missing.join(", ")
            ));
        }
        let fence = serde_json::to_string(&fence).map_err(|e| e.to_string())?;
        let [name, args @ ..] = program.as_slice() else {
            return Err("a program must follow `--`".to_owned());
        };
        let failed = Command::new(name).args(args).env(FENCE_VARIABLE, fence).exec();
        Err(format!("cannot start {}: {failed}", Path::new(name).display()))
    }
}

/// Applies the layers; those that the kernel lacks stay false, and the words say why.
fn apply(spec: &FenceSpec) -> (Fence, Vec<String>) {
    let mut fence = Fence {
        // the first process of a namespace is number 1 in it
        processes: process::getpid().is_init(),
        no_privileges: drop_privileges(),
        ..Fence::default()
    };
    let mut missing = Vec::new();
    if !fence.no_privileges {
        missing.push("privileges cannot be dropped".to_owned());
    }
    match files::restrict(&spec.read, &spec.write) {
        Ok(restricted) if restricted.files => {
            fence.files = true;
            fence.signals = restricted.signals;
        }
        Ok(_) => missing.push("no Landlock".to_owned()),
        Err(why) => missing.push(format!("no Landlock: {why}")),
    }
    fence.signals |= fence.processes;
    match calls::restrict(spec.allow_network, spec.allow_modes) {
        Ok(()) => {
            fence.calls = true;
            fence.no_network = !spec.allow_network;
        }
        Err(why) => missing.push(format!("no seccomp: {why}")),
    }
    (fence, missing)
}

/// Drops what root can do beyond its user id, for good; false if the kernel refuses.
fn drop_privileges() -> bool {
    // numbers beyond the kernel's last one are refused and say nothing
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        let _ = thread::remove_capability_from_bounding_set(one);
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    let _ = thread::clear_ambient_capability_set();
    thread::set_capabilities(None, none).is_ok() && thread::set_no_new_privs(true).is_ok()
}

/// Puts children of this process into a process namespace: as root, or by a user namespace. False if neither works.
fn own_processes() -> bool {
    use nix::sched::{CloneFlags, unshare};
    if unshare(CloneFlags::CLONE_NEWPID).is_ok() {
        return true;
    }
    let (user, group) = (process::geteuid().as_raw(), process::getegid().as_raw());
    if unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID).is_err() {
        return false;
    }
    // the same ids inside as outside; a worker whose ids are unknown could not read its model
    let _ = fs::write("/proc/self/setgroups", "deny");
    fs::write("/proc/self/uid_map", format!("{user} {user} 1")).is_ok()
        && fs::write("/proc/self/gid_map", format!("{group} {group} 1")).is_ok()
}

/// Closes what the platform, or who started it, left open beyond the three standard streams.
fn close_inherited() {
    let open: Vec<i32> = match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect(),
        Err(_) => (0..4096).collect(),
    };
    for fd in open.into_iter().filter(|&fd| fd > 2) {
        // the one that listed the folder is closed already
        let _ = nix::unistd::close(fd);
    }
}

fn limit(resource: Resource, most: u64) -> Result<(), String> {
    let allowed = process::getrlimit(resource).maximum;
    let most = allowed.map_or(most, |allowed| allowed.min(most));
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    process::setrlimit(resource, limit).map_err(told("a limit of resources"))
}

fn told<E: Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}
