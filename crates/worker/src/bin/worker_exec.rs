//! The fence as a program of its own, for the tests of this crate; the platform has it as a sub-command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // the first argument is the sub-command's name
    lodeway_worker::worker_exec(std::env::args_os().skip(2))
}
