//! Files, by Landlock.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest version whose rights are known here; the crate lowers it to what the kernel has.
const NEWEST: ABI = ABI::V6;

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Restricted {
    /// At least the rights of the first version hold.
    pub files: bool,
    /// Signals are kept inside.
    pub signals: bool,
}

/// Restricts the calling thread and what it becomes. Paths that do not exist are passed over.
pub(super) fn restrict(read: &[PathBuf], write: &[PathBuf]) -> Result<Restricted, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (paths, access) in [(read, AccessFs::from_read(NEWEST)), (write, all)] {
        for path in paths {
            let Ok(fd) = PathFd::new(path) else { continue };
            let access = match path.is_dir() {
                true => access,
                false => access & AccessFs::from_file(NEWEST),
            };
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    let status = ruleset.restrict_self()?;
    Ok(Restricted {
        files: status.ruleset != RulesetStatus::NotEnforced,
        signals: matches!(status.landlock, LandlockStatus::Available { effective_abi, .. } if effective_abi >= ABI::V6),
    })
}
