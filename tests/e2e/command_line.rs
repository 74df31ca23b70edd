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
    // A file that nobody can read, as far into the folder as it goes.
    let unreadable = folder.path().join("z");
    std::os::unix::fs::symlink("/proc/self/clear_refs", &unreadable).unwrap();
    let (code, said) = refusal(&house, &put);
    let wanted = format!("`{}` cannot be read: ", unreadable.display());
    assert!(code == 1 && said.contains(&wanted), "{said}");
    assert_eq!(ask(&house, &list), json!([]));
    std::fs::remove_file(unreadable).unwrap();
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

#[test]
fn what_a_process_cannot_begin_with_is_told_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("file"), folder.path().join("data"));
    std::fs::write(&file, "").unwrap();
    let (file, place) = (file.to_str().unwrap(), folder.path().to_str().unwrap());
    let up = |variables: &[(&str, &str)], flags: &[&str]| {
        // One that begins all the same would never end.
        let output = Command::new("timeout")
            .arg("60")
            .arg(binary().unwrap())
            .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .args(flags)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(!data.exists(), "{variables:?} {flags:?}");
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let of_variable = |name: &str, key: &str, value: &str, shown: &str, why: &str| {
        let (code, said) = up(&[(name, value)], &[]);
        let start = format!("`{key}` = `{shown}` from environment variable {name}: ");
        assert!(code == 1 && said.contains(&start) && said.contains(why), "{said}");
        assert!(value == shown || !said.contains("hush"), "{said}");
    };
    let collector = "telemetry.otlp_endpoint";
    let name = "LODEWAY_TELEMETRY__OTLP_ENDPOINT";
    of_variable(name, collector, "collector:4317", "collector:4317", "http://");
    let secret = "ftp://u:hush@h/?api_key=hush";
    of_variable(name, collector, secret, "ftp://u:***@h/?api_key=***", "http://");
    let name = "LODEWAY_SERVER__CORS_ORIGINS";
    let bad = "https://a.example,b.example";
    of_variable(
        name,
        "server.cors_origins",
        bad,
        bad,
        "`b.example` is not an origin",
    );
    for name in [
        "LODEWAY_REGISTRY__SOURCE_REGEX",
        "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX",
    ] {
        of_variable(
            name,
            "registry.source_regex",
            "([",
            "([",
            "unclosed character class",
        );
    }
    for (flag, key, value, why) in [
        ("--artifacts", "artifacts.url", file, "must be a folder"),
        ("--token-table", "auth.token_table", place, "is a folder"),
    ] {
        let (code, said) = up(&[], &[flag, value]);
        let start = format!("`{key}` = `{value}` from flag {flag}: {why}");
        assert!(code == 1 && said.contains(&start), "{said}");
    }
}

#[test]
fn secrets_are_neither_shown_nor_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lodeway.toml");
    let text = "peers.tracking = \"http://u:hush@h:1/?password=hush\"\n\
                artifacts.allow_roots = [\"s3://bucket/x?token=hush&a=b\"]\n";
    std::fs::write(&file, text).unwrap();
    let (code, said) = alone(&["config", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    for shown in ["http://u:***@h:1/?password=***", "s3://bucket/x?token=***&a=b"] {
        assert!(said.contains(&format!("\"{shown}\"")), "{said}");
    }
    assert!(!said.contains("hush"), "{said}");
    for (flag, value) in [
        ("--address", "http://u:hush@h:1"),
        ("--address", "u:hush@h:1"),
        ("--address", "http://h?sslpassword=hush"),
        ("--token", "hush\u{f6}"),
        ("--token", "hush\n"),
    ] {
        let (code, said) = alone(&["model", "list", flag, value]);
        let variable = format!("LODEWAY_{}", flag[2..].to_uppercase());
        assert!(
            code == 2 && said.contains(flag) && said.contains(&variable),
            "{said}"
        );
        assert!(!said.contains("hush"), "{said}");
        let output = Command::new(binary().unwrap())
            .args(["model", "list"])
            .env(&variable, value)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && said.contains(&variable),
            "{said}"
        );
        assert!(!said.contains("hush"), "{said}");
    }
}

/// Where nothing can be written any more, the folder of a report is as it was.
#[test]
fn a_report_that_does_not_fit_leaves_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.csv");
    std::fs::write(&data, "y,p\n1.5,1.0\n2.5,2.0\n").unwrap();
    let out = folder.path().join("out");
    // A file may have 512 bytes; writing more is an error and no signal.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(binary().unwrap())
        .args(["evaluate", "--target", "y", "--prediction", "p", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("cannot write `{}/", out.display())),
        "{said}"
    );
    assert!(!out.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_a_terminal_is_told_of_in_lines() {
    let house = house().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.csv");
    let rows: String = (0..50).map(|row| format!("{row}.5,{row}.0\n")).collect();
    std::fs::write(&data, format!("y,p\n{rows}")).unwrap();
    let upload = format!("dataset upload told {} --target y --prediction p", data.display());
    text(&house, &upload);
    let line = "evaluate --data dataset:told --target y --prediction p --task regression";
    let output = command(&house, line).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let id = ask(&house, "evaluation list")[0]["evaluation_id"].clone();
    let id = id.as_str().unwrap();
    let lines: Vec<_> = told.lines().collect();
    let end = format!("evaluation {id} has succeeded, ");
    assert!(
        matches!(lines[..], [first, last] if first == format!("evaluation {id} has begun") && last.starts_with(&end)),
        "{told}"
    );
    // Scripts are told by their result alone.
    let output = command(&house, &format!("{line} --output json"))
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
}
