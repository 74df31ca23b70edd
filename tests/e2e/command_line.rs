//! The command line at its edges: addresses, who is not there, who has no token, texts and names that mean harm.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, process::Command};

use lodeway_testkit::platform::{Platform, Settings, Shape, binary, free_address};
use serde_json::{Value, json};

use crate::support::{
    command::{ask, command, refusal, text},
    new_run, people, started,
};

async fn house() -> Platform {
    started(Shape::Embedded, Settings::default()).await
}

/// What a command that is given nothing of a platform says, and its exit code.
fn alone(args: &[&str]) -> (i32, String) {
    let mut command = Command::new(binary().unwrap());
    let output = command
        .args(args)
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_health() {
    let house = house().await;
    let address = house.address().to_string();
    for written in [address.clone(), format!("http://{address}/")] {
        let (code, said) = alone(&["health", "--address", &written]);
        assert_eq!((code, said.trim_end()), (0, "SERVING"), "{written}");
        let (code, said) = alone(&["model", "list", "--address", &written]);
        assert_eq!(code, 0, "{written}: {said}");
    }
    let (_, said) = alone(&["health", "tracking", "-o", "json", "--address", &address]);
    let expected = json!({ "service": "lodeway.tracking.v1.TrackingService", "status": "SERVING" });
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), expected);
    let nobody = free_address().unwrap().to_string();
    for line in ["health", "model list", "evaluation show x"] {
        let args: Vec<_> = line.split(' ').chain(["--address", &nobody]).collect();
        let (code, said) = alone(&args);
        assert_eq!(code, 6, "{said}");
        assert!(
            said.contains(&nobody) && said.contains("Connection refused"),
            "{said}"
        );
        let (code, said) = alone(&[&args[..args.len() - 1], &["ftp://h"]].concat());
        assert!(code == 2 && said.contains("ftp"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_is_told_so() {
    let (settings, _folder) = people::known(&[]);
    let house = started(Shape::Embedded, settings).await;
    let (code, said) = refusal(&house, "model list");
    assert_eq!(code, 5, "{said}");
    assert!(
        said.contains("--token") && said.contains("LODEWAY_TOKEN"),
        "{said}"
    );
    let (code, said) = refusal(&house, "model list --token wrong");
    assert_eq!(code, 5, "{said}");
    assert!(!said.contains("LODEWAY_TOKEN"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_a_bad_name_leaves_nothing_behind() {
    let house = house().await;
    let run = new_run(&house).await;
    let folder = tempfile::tempdir().unwrap();
    let put = format!("artifact put {} runs:/{run}", folder.path().display());
    let list = format!("artifact list runs:/{run} --recursive");
    std::fs::write(folder.path().join("a"), "a").unwrap();
    for bad in [&br"z\s"[..], b"z\xff", b"z#s", b"z\x1bs"] {
        let path = folder.path().join(OsStr::from_bytes(bad));
        std::fs::write(&path, "z").unwrap();
        let (code, said) = refusal(&house, &put);
        assert_eq!(code, 4, "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
        assert_eq!(ask(&house, &list), json!([]), "{said}");
        std::fs::remove_file(path).unwrap();
    }
    text(&house, &put);
    assert_eq!(ask(&house, &list)[0]["path"], "a");
}

/// Whatever a file is called, another one's download does not write there on its way.
#[tokio::test(flavor = "multi_thread")]
async fn downloads_touch_no_other_file() {
    let house = house().await;
    let run = new_run(&house).await;
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::create_dir_all(&from).unwrap();
    std::fs::create_dir_all(&to).unwrap();
    std::fs::write(from.join("x"), "new").unwrap();
    std::fs::write(from.join(".x.partial"), "theirs").unwrap();
    std::fs::write(to.join(".y.partial"), "mine").unwrap();
    text(&house, &format!("artifact put {} runs:/{run}", from.display()));
    text(&house, &format!("artifact get runs:/{run} --to {}", to.display()));
    let mut found: Vec<_> = std::fs::read_dir(&to)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    let wanted = [(".x.partial", "theirs"), (".y.partial", "mine"), ("x", "new")];
    assert_eq!(
        found,
        wanted.map(|(name, text)| (name.to_owned(), text.to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_others_are_escaped_for_people_only() {
    let house = house().await;
    let bad = "a\u{1b}[2J\u{7}\u{202e}";
    let created = command(&house, "experiment create loud")
        .args(["--tag", &format!("note={bad}")])
        .output()
        .unwrap();
    assert!(created.status.success());
    let shown = text(&house, "experiment show loud");
    assert!(shown.contains(r"a\u{1b}[2J\u{7}\u{202e}"), "{shown}");
    assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown}");
    assert_eq!(ask(&house, "experiment show loud")["tags"]["note"], bad);
    let missing = command(&house, "experiment show").arg(bad).output().unwrap();
    let said = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(missing.status.code(), Some(3), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_zero_is_none() {
    let house = house().await;
    for name in ["one", "two"] {
        text(&house, &format!("experiment create {name}"));
    }
    let all = ask(&house, "experiment list");
    assert!(all.as_array().unwrap().len() > 1);
    assert_eq!(ask(&house, "experiment list --limit 0"), all);
    assert_eq!(
        ask(&house, "experiment list --limit 1").as_array().unwrap().len(),
        1
    );
}

#[test]
fn faults_of_a_configuration_are_told_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lodeway.toml");
    let text = "auth.token_table = \"/no/such/table\"\ntelemetry.log = \"a=b=c\"\n[llm.keys]\none = \"env:NOT_SET\"\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    for (command, count) in [("up", 3), ("config", 1)] {
        let (code, said) = alone(&[command, "--config", file]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&format!("{count} fault(s)")), "{command}: {said}");
        assert!(
            said.contains(&format!("`telemetry.log` = `a=b=c` from file {file}: ")),
            "{said}"
        );
    }
    std::fs::write(file, "peers.tracking = \"http://u:pw@h:1\"\n").unwrap();
    let (code, said) = alone(&["config", "--config", file]);
    assert!(
        code == 0 && said.contains("http://u:***@h:1") && !said.contains("pw@"),
        "{said}"
    );
}
