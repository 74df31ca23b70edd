//! What traffic a step means.

use super::{
    super::{MAX_WEIGHT, Revision, RevisionSpec, Shadow, Target, WHOLE_SHARE, WeightedTarget},
    StepKind,
};
use crate::{Error, Result};

/// The revision of a step: the one that the rollout began with, and the candidate with its part.
///
/// Made to follow the revision of the step before, it moves no key but those that the candidate gains (and, where weights
/// had to be rounded, the few that rounding moves), so a key that has come to the candidate stays there to the end. The
/// other targets keep their proportions. In a shadow step the candidate takes the place of another shadow. A share below
/// what the base gives the candidate takes keys from it.
///
/// The candidate's part is exact as long as the weights are below some 100 together, else within 10^-4. At 100 % the
/// others stay, with weight 0. Errors: `INVALID_FIELD` for `candidate` if no other target has a weight, so that there is
/// nothing to take a part of.
pub fn step_spec(base: &Revision, candidate: &Target, kind: StepKind) -> Result<RevisionSpec> {
    let mut spec = base.spec();
    let place = match base.target(&candidate.name) {
        Some((place, _)) => usize::from(place),
        None => {
            spec.targets.push(WeightedTarget {
                target: candidate.clone(),
                weight: 0,
            });
            spec.targets.len() - 1
        }
    };
    match kind {
        StepKind::Shadow { share, max_in_flight } => {
            spec.shadow = Some(Shadow {
                target: candidate.name.clone(),
                share,
                max_in_flight,
            });
        }
        StepKind::Share(share) => weigh(&mut spec.targets, place, share)?,
    }
    if let Some(own) = spec.targets.get_mut(place) {
        own.target = candidate.clone();
    }
    Ok(spec)
}

/// Gives the target at `place` a share in ten-thousandths, the others the rest in their proportions.
fn weigh(targets: &mut [WeightedTarget], place: usize, share: u16) -> Result<()> {
    let share = u64::from(share.min(WHOLE_SHARE));
    let rest = u64::from(WHOLE_SHARE) - share;
    let others =
        |(i, target): (usize, &WeightedTarget)| if i == place { 0 } else { u64::from(target.weight) };
    let sum: u64 = targets.iter().enumerate().map(others).sum();
    if sum == 0 {
        let why = "is the only target with a weight; there is nothing to take a part of";
        return Err(Error::invalid("candidate", why));
    }
    let exact = targets.iter().enumerate().map(|(i, target)| match i == place {
        true => sum * share,
        false => u64::from(target.weight) * rest,
    });
    let exact: Vec<u64> = exact.collect();
    let divisor = exact.iter().copied().fold(0, gcd).max(1);
    let greatest = exact.iter().copied().max().unwrap_or(0) / divisor;
    let most = u64::from(MAX_WEIGHT);
    for (target, exact) in targets.iter_mut().zip(exact) {
        let part = exact / divisor;
        let scaled = match greatest > most {
            // Nobody loses all because of rounding.
            true if part > 0 => ((part * most + greatest / 2) / greatest).max(1),
            _ => part,
        };
        target.weight = u32::try_from(scaled).unwrap_or(MAX_WEIGHT);
    }
    Ok(())
}

fn gcd(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}
