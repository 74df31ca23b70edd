//! The `lodeway` command against a platform, as people and scripts use it.

use std::process::Command;

use lodeway_testkit::platform::{self, Platform};
use serde_json::Value;

use super::people;

/// A command that is not started yet.
pub fn command(house: &Platform, line: &str) -> Command {
    let mut command = Command::new(platform::binary().unwrap());
    command
        .args(line.split_whitespace())
        .env_remove("LODEWAY_TOKEN")
        .env_remove("LODEWAY_WORKSPACE")
        .env("LODEWAY_ADDRESS", format!("http://{}", house.address()));
    command
}

/// What a command prints.
#[track_caller]
pub fn text(house: &Platform, line: &str) -> String {
    let output = command(house, line).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// As [`command`], as somebody.
pub fn command_as(house: &Platform, who: &str, line: &str) -> Command {
    let mut command = command(house, line);
    command.env("LODEWAY_TOKEN", people::token(who));
    command
}

/// As [`ask`], as somebody.
#[track_caller]
pub fn ask_as(house: &Platform, who: &str, line: &str) -> Value {
    let (code, shown) = shown_as(house, who, line);
    assert_eq!(code, 0, "{line}");
    shown
}

/// The exit code, and what a command prints for scripts whatever that is.
#[track_caller]
pub fn shown_as(house: &Platform, who: &str, line: &str) -> (i32, Value) {
    let output = command_as(house, who, &format!("{line} --output json"))
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let shown = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{line}: {e}: {complaint}"));
    (output.status.code().unwrap_or(-1), shown)
}

/// As [`refusal`], as somebody.
#[track_caller]
pub fn refusal_as(house: &Platform, who: &str, line: &str) -> (i32, String) {
    refused(command_as(house, who, line), line)
}

/// What a command prints for scripts.
#[track_caller]
pub fn ask(house: &Platform, line: &str) -> Value {
    let text = text(house, &format!("{line} --output json"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{line}: {e}: {text}"))
}

/// The exit code and the complaint of a command that fails.
#[track_caller]
pub fn refusal(house: &Platform, line: &str) -> (i32, String) {
    refused(command(house, line), line)
}

#[track_caller]
fn refused(mut command: Command, line: &str) -> (i32, String) {
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{line} went well");
    (output.status.code().unwrap(), complaint)
}
