use clap::CommandFactory as _;

use super::*;

#[test]
fn what_servers_say_does_not_reach_the_terminal_as_it_is() {
    let status = Status::not_found("`a\u{1b}[2J\nlodeway: b` is not there");
    let (text, code) = told(status.into());
    assert_eq!(
        (text.as_str(), code),
        (r"`a\u{1b}[2J\nlodeway: b` is not there", 3)
    );
    let (text, code) = told(Failure::Several(
        "2 are refused".to_owned(),
        vec!["a\u{7}\nb".to_owned()],
    ));
    assert_eq!((text.as_str(), code), ("2 are refused\n  a\\u{7}\\nb", 4));
    let error = anyhow::anyhow!("a\u{202e}b").context("c\td");
    assert_eq!(told(error.into()).0, r"c\td: a\u{202e}b");
}

#[test]
fn a_cause_is_said_once() {
    let missing = || std::io::Error::from_raw_os_error(2);
    let error = anyhow::Error::from(missing()).context(format!("cannot open `/x`: {}", missing()));
    let (text, code) = told(error.into());
    assert_eq!((text.matches("os error 2").count(), code), (1, 1), "{text}");
}

#[test]
fn limits_say_that_zero_is_all() {
    /// The help of every `--limit` below a command.
    fn limits(command: &clap::Command, found: &mut Vec<(String, String)>) {
        let limit = command.get_arguments().find(|one| one.get_id() == "limit");
        let help = limit.and_then(|one| one.get_help()).map(ToString::to_string);
        found.extend(help.map(|help| (command.get_name().to_owned(), help)));
        command.get_subcommands().for_each(|below| limits(below, found));
    }
    let mut found = Vec::new();
    limits(&crate::Cli::command(), &mut found);
    assert!(found.len() > 15, "{found:?}");
    for (command, help) in found {
        assert!(help.contains("0: all"), "{command}: {help}");
    }
}

#[test]
fn addresses_are_read_alike_by_all_commands() {
    use clap::Parser as _;
    let parsed = |line: &str| crate::Cli::try_parse_from(line.split_whitespace()).map(drop);
    for command in [
        "model list",
        "health",
        "serve-model models:/m/1",
        "evaluate --data d.csv",
    ] {
        for good in ["127.0.0.1:24000", "http://h:1/"] {
            let line = format!("lodeway {command} --address {good}");
            assert!(parsed(&line).is_ok(), "{line}");
        }
        for (bad, shown) in [
            ("ftp://h", "ftp://h"),
            ("http://h/x", "http://h/x"),
            ("http://h?x", "http://h?"),
        ] {
            let line = format!("lodeway {command} --address {bad}");
            let error = parsed(&line).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(MISTYPED), "{line}");
            assert!(error.to_string().contains(shown), "{error}");
            assert!(error.to_string().contains("LODEWAY_ADDRESS"), "{error}");
        }
    }
}

#[test]
fn a_token_that_no_server_reads_is_a_wrong_command_line() {
    use clap::Parser as _;
    for command in ["model list", "serve-model models:/m/1", "evaluate --data d.csv"] {
        for (bad, why) in [
            ("hush\u{f6}", "not ASCII"),
            ("hush\n", "line break"),
            ("hu\nsh", "line break"),
        ] {
            let words = ["lodeway"]
                .into_iter()
                .chain(command.split(' '))
                .chain(["--token", bad]);
            let error = crate::Cli::try_parse_from(words).map(drop).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(MISTYPED), "{error}");
            let said = error.to_string();
            assert!(
                said.contains(why) && said.contains("--token") && said.contains("LODEWAY_TOKEN"),
                "{said}"
            );
            assert!(!said.contains("hu"), "{said}");
        }
    }
    let words = ["lodeway", "model", "list", "--workspace", "t\u{f6}m"];
    assert!(crate::Cli::try_parse_from(words).is_err());
}
