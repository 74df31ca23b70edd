//! System calls, by seccomp: three filters, since one answers all its matches in the same way.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// Refused whatever their arguments: they look into other processes, change the machine, make namespaces, share memory
/// or queues with strangers, reach sockets by a side door (io_uring), or change files where Landlock does not ask.
const REFUSED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_msgget,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_removexattr,
    libc::SYS_request_key,
    libc::SYS_semget,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_setxattr,
    libc::SYS_shmget,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_truncate,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Done in appearance only: Landlock does not ask at these, and with the platform's own user id they would work on its
/// files; but archives and copies of files are unpacked with them, and those should not fail.
const WITHOUT_EFFECT: &[i64] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
];

/// The flags of `clone` that make namespaces.
const NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// A bit that marks the numbers of the x32 tables, by which the same calls could be made.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

/// Filters the calling thread and what it becomes. Errors: the kernel has no seccomp, or the machine is none that is
/// known here.
pub(super) fn restrict(allow_network: bool, allow_modes: bool) -> Result<(), seccompiler::Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut programs = vec![refused(allow_network, arch)?, unknown(arch)?];
    if !allow_modes {
        programs.push(without_effect(arch)?);
    }
    for program in programs {
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

/// What is answered with EPERM.
fn refused(allow_network: bool, arch: TargetArch) -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|&call| (call, Vec::new())).collect();
    // Unix sockets too: Landlock does not ask at `connect`, so one of them could reach another service's socket; a
    // socketpair reaches nobody
    let sockets = if allow_network {
        let no_family = [libc::AF_INET, libc::AF_INET6]
            .into_iter()
            .map(|family| when(0, SeccompCmpOp::Ne, family))
            .collect::<Result<_, _>>()?;
        vec![SeccompRule::new(no_family)?]
    } else {
        Vec::new()
    };
    rules.insert(libc::SYS_socket, sockets);
    let clone = NAMESPACES
        .iter()
        .map(|&flag| {
            let mask = u64::from(flag.unsigned_abs());
            Ok(SeccompRule::new(vec![when(
                0,
                SeccompCmpOp::MaskedEq(mask),
                flag,
            )?])?)
        })
        .collect::<Result<_, seccompiler::Error>>()?;
    rules.insert(libc::SYS_clone, clone);
    // a model must not undo its death with its parent
    let spared = SeccompRule::new(vec![
        when(0, SeccompCmpOp::Eq, libc::PR_SET_PDEATHSIG)?,
        when(1, SeccompCmpOp::Ne, libc::SIGKILL)?,
    ])?;
    rules.insert(libc::SYS_prctl, vec![spared]);
    // the limits of others
    let others = SeccompRule::new(vec![when(0, SeccompCmpOp::Ne, 0)?])?;
    rules.insert(libc::SYS_prlimit64, vec![others]);
    #[cfg(target_arch = "x86_64")]
    {
        let same = rules.clone().into_iter().map(|(call, rules)| (call | X32, rules));
        let same = same.chain(WITHOUT_EFFECT.iter().map(|&call| (call | X32, Vec::new())));
        // the calls whose x32 numbers differ from the others
        let own = (512..=547).map(|call| (call | X32, Vec::new()));
        rules.extend(same.chain(own).collect::<Vec<_>>());
        for call in [libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_kexec_file_load] {
            rules.insert(call, Vec::new());
        }
    }
    compile(rules, libc::EPERM, arch)
}

/// What is answered as if the kernel did not know it: `clone3` has its flags where no filter sees them, and the C
/// library falls back to `clone`.
fn unknown(arch: TargetArch) -> Result<BpfProgram, seccompiler::Error> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    compile(rules, libc::ENOSYS, arch)
}

/// What is answered with success and not done.
fn without_effect(arch: TargetArch) -> Result<BpfProgram, seccompiler::Error> {
    let rules = WITHOUT_EFFECT.iter().map(|&call| (call, Vec::new())).collect();
    compile(rules, 0, arch)
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: libc::c_int,
    arch: TargetArch,
) -> Result<BpfProgram, seccompiler::Error> {
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
    Ok(BpfProgram::try_from(filter)?)
}

fn when(argument: u8, is: SeccompCmpOp, value: libc::c_int) -> Result<SeccompCondition, seccompiler::Error> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        is,
        u64::from(value.unsigned_abs()),
    )?)
}
