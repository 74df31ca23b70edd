//! The fence as a program of its own, for the tests of this crate; the platform has it as a sub-command.
//!
//! The first argument is the sub-command's name: `worker-exec`, or one that plays a kernel which lacks something.

use std::{collections::BTreeMap, process::ExitCode};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

type Fault = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_ref().and_then(|name| name.to_str()) {
        // fails inside of the namespace, where it is refused already
        Some("without-seccomp") => drop(refuse(libc::SYS_seccomp)),
        Some("without-namespaces") => drop(refuse(libc::SYS_unshare)),
        Some("without-landlock") => drop(refuse(libc::SYS_landlock_create_ruleset)),
        _ => {}
    }
    lodeway_worker::worker_exec(args)
}

/// Has the kernel answer a call as one does that does not know it.
fn refuse(call: i64) -> Result<(), Fault> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let rules = BTreeMap::from([(call, Vec::new())]);
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, unknown, arch)?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?;
    Ok(())
}
