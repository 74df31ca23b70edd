//! The whole house: the real binary as processes, in one process and split into three, seen from outside.
//!
//! One test program, because each links everything; the files are about one thing each. Nothing here sleeps and hopes:
//! `support::eventually` polls for a condition with a deadline.

#[cfg(test)]
mod access;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod endpoint_commands;
#[cfg(test)]
mod evaluations;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod gated_rollouts;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod happy;
#[cfg(test)]
mod held_files;
#[cfg(test)]
mod input;
#[cfg(test)]
mod judges;
#[cfg(test)]
mod listener;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod support;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod traversal;
#[cfg(test)]
mod workspaces;
