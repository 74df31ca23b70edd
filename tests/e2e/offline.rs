//! `lodeway evaluate` on a file and nothing else: no platform, no configuration, no network.

use std::{
    path::Path,
    process::{Command, Output},
};

use lodeway_tables::{Batch, Column, Format, Type, Values, WriteOptions, Writer};
use lodeway_testkit::platform::binary;
use serde_json::Value;

/// Exit code of a demand that is not met.
const MISSED: i32 = 1;
/// Exit code where the data or the command line is wrong.
const WRONG: i32 = 2;

/// The command in an empty environment: an address that nobody answers at shows that it asks nobody.
fn evaluate(folder: &Path, line: &str) -> Output {
    Command::new(binary().unwrap())
        .arg("evaluate")
        .args(line.split_whitespace())
        .current_dir(folder)
        .env_clear()
        .env("LODEWAY_ADDRESS", "http://127.0.0.1:1")
        .output()
        .unwrap()
}

/// The report; panics unless the command goes well.
#[track_caller]
fn report(folder: &Path, line: &str) -> Value {
    let output = evaluate(folder, &format!("{line} --output json"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{line}: {complaint}");
    assert!(complaint.is_empty(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One line of complaint, with nothing on the output.
#[track_caller]
fn complaint(folder: &Path, line: &str) -> String {
    let output = evaluate(folder, &format!("{line} --output json"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(WRONG), "{line}: {said}");
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    said.trim_end().to_owned()
}

#[track_caller]
fn value(report: &Value, metric: &str) -> f64 {
    let entry = &report["metrics"][metric];
    let value = entry["value"].as_f64();
    let value = value.unwrap_or_else(|| panic!("no {metric} in {}", report["metrics"]));
    let (low, high) = (entry["low"].as_f64().unwrap(), entry["high"].as_f64().unwrap());
    assert!(low <= value && value <= high, "{metric}: {entry}");
    value
}

#[track_caller]
fn close(report: &Value, metric: &str, wanted: f64) {
    let found = value(report, metric);
    assert!(
        (found - wanted).abs() <= 1e-9 * wanted.abs(),
        "{metric} is {found}, not {wanted}"
    );
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// A Parquet file of columns of numbers.
fn parquet(folder: &Path, name: &str, columns: &[(&str, &[f64])]) {
    let columns = columns.iter().map(|(name, values)| {
        let values = Values::Double(values.to_vec());
        Column::new(*name, Type::Float64, values, None).unwrap()
    });
    let batch = Batch::new(columns.collect()).unwrap();
    let file = std::fs::File::create(folder.join(name)).unwrap();
    let mut writer = Writer::new(file, Format::Parquet, &batch.schema(), &WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

/// 40 answers: 30 of 40 right, 14 of the 20 said to be `yes` and 16 of the 20 said to be `no`.
fn answers() -> String {
    let mut text = "id,y,yhat,p\n".to_owned();
    for row in 0..40 {
        let says_yes = row < 20;
        let is_yes = if says_yes { row < 14 } else { row >= 36 };
        let word = |yes: bool| if yes { "yes" } else { "no" };
        let p = if says_yes { 0.9 } else { 0.2 };
        text.push_str(&format!("{row},{},{},{p}\n", word(is_yes), word(says_yes)));
    }
    text
}

#[test]
fn a_file_of_classes_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let answers = answers();
    write(folder, "predictions.csv", &answers);
    let line = "--data predictions.csv --target y --prediction yhat";
    let found = report(folder, line);
    assert_eq!(
        (&found["task"], &found["rows"]),
        (&"classification".into(), &40.into())
    );
    assert!(found["metrics"].get("log_loss").is_none());
    let found = report(folder, &format!("{line} --probability p"));
    assert_eq!(found["positive"], "yes");
    let (tp, fp, fal, tn) = (14.0, 6.0, 4.0, 16.0);
    let (precision, recall) = (tp / (tp + fp), tp / (tp + fal));
    close(&found, "accuracy", 0.75);
    close(&found, "precision", precision);
    close(&found, "recall", recall);
    close(&found, "f1", 2.0 * precision * recall / (precision + recall));
    close(&found, "balanced_accuracy", (recall + tn / (tn + fp)) / 2.0);
    let matthews = (tp * tn - fp * fal) / f64::sqrt((tp + fp) * (tp + fal) * (tn + fp) * (tn + fal));
    close(&found, "matthews", matthews);
    close(
        &found,
        "brier",
        (tp * 0.01 + fp * 0.81 + fal * 0.64 + tn * 0.04) / 40.0,
    );
    let loss = tp * 0.9_f64.ln() + fp * 0.1_f64.ln() + fal * 0.2_f64.ln() + tn * 0.8_f64.ln();
    close(&found, "log_loss", -loss / 40.0);
    // Every positive beside every negative; ties count half.
    let area = (tp * tn + 0.5 * (tp * fp + fal * tn)) / ((tp + fal) * (tn + fp));
    close(&found, "roc_auc", area);

    // The same rows as JSON Lines, and the same numbers.
    let lines = answers.lines().skip(1).map(|line| {
        let fields: Vec<_> = line.split(',').collect();
        let row =
            serde_json::json!({ "y": fields[1], "yhat": fields[2], "p": fields[3].parse::<f64>().unwrap() });
        format!("{row}\n")
    });
    write(folder, "predictions.jsonl", &lines.collect::<String>());
    let other = report(
        folder,
        &format!("{} --probability p", line.replace("csv", "jsonl")),
    );
    assert_eq!(other["metrics"], found["metrics"]);
}

#[test]
fn the_task_is_inferred_and_can_be_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let target: Vec<f64> = (0..50).map(|row| f64::from(row) * 0.5 - 7.25).collect();
    let predicted: Vec<f64> = target
        .iter()
        .enumerate()
        .map(|(row, y)| y + if row % 2 == 0 { 1.0 } else { -0.5 })
        .collect();
    parquet(folder, "r.parquet", &[("y", &target), ("yhat", &predicted)]);
    let found = report(folder, "--data r.parquet --target y --prediction yhat");
    assert_eq!(found["task"], "regression");
    close(&found, "mae", 0.75);
    close(&found, "mse", 0.625);
    close(&found, "rmse", f64::sqrt(0.625));
    close(&found, "median_absolute_error", 0.75);
    let mean = target.iter().sum::<f64>() / 50.0;
    let spread: f64 = target.iter().map(|y| (y - mean).powi(2)).sum();
    close(&found, "r2", 1.0 - 0.625 * 50.0 / spread);
    // An error of the mean is no error of the explained variance.
    close(
        &found,
        "explained_variance",
        1.0 - (0.625 - 0.0625) * 50.0 / spread,
    );
    assert_eq!(found["metrics"]["max_error"]["value"], 1.0);

    // Whole numbers are classes unless it is said that they are amounts.
    write(folder, "whole.csv", "y,yhat\n1,1\n0,0\n1,0\n0,0\n");
    let line = "--data whole.csv --target y --prediction yhat";
    let found = report(folder, line);
    assert_eq!(found["task"], "classification");
    close(&found, "accuracy", 0.75);
    let found = report(folder, &format!("{line} --task regression"));
    assert_eq!(found["task"], "regression");
    close(&found, "mae", 0.25);
    let said = complaint(
        folder,
        "--data r.parquet --target y --prediction yhat --task classification",
    );
    assert!(said.contains("column `y`: row 0"), "{said}");
    write(folder, "texts.csv", "y,yhat\na,b\n");
    let said = complaint(
        folder,
        "--data texts.csv --target y --prediction yhat --task regression",
    );
    assert!(
        said.contains("column `y`: has text where numbers are needed"),
        "{said}"
    );
    let output = evaluate(
        folder,
        "--data texts.csv --target y --prediction yhat --task guessing",
    );
    assert_eq!(output.status.code(), Some(WRONG));
    assert!(String::from_utf8_lossy(&output.stderr).contains("guessing"));
}

#[test]
fn what_cannot_be_scored_is_named_by_column_and_row() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let roles = "--target y --prediction yhat";
    for (name, text, flags, wanted) in [
        (
            "lacks.csv",
            "y,other\n1,1\n",
            "",
            "column `yhat`: is missing; the table has y, other",
        ),
        ("empty.csv", "", "", "table: is empty"),
        ("head.csv", "y,yhat\n", "", "has no rows"),
        (
            "hole.csv",
            "y,yhat\n1.5,1\n2.5,\n",
            "",
            "column `yhat`: row 1: is missing",
        ),
        (
            "nan.csv",
            "y,yhat\n1.5,1\n2.5,nan\n",
            "",
            "column `yhat`: row 1: is missing",
        ),
        (
            "inf.csv",
            "y,yhat\n1.5,1\n2.5,3\n0.5,inf\n",
            "",
            "column `yhat`: row 2: is NaN or infinite",
        ),
        (
            "mixed.csv",
            "y,yhat\n1.5,1\n2.5,abc\n",
            "",
            "column `yhat`: has text",
        ),
        (
            "ragged.csv",
            "y,yhat\n1.5,1\n2.5,1,7\n",
            "",
            "row 1: has 3 fields",
        ),
        (
            "high.csv",
            "y,yhat,p\n1,1,0.9\n0,1,1.5\n",
            "--probability p",
            "column `p`: row 1: is not a probability",
        ),
        (
            "low.csv",
            "y,yhat,p\n1,1,0.9\n0,1,0.2\n0,1,-0.1\n",
            "--probability p",
            "column `p`: row 2: is not a probability",
        ),
        (
            "p.csv",
            "y,yhat,p\n1,1,\n0,1,0.5\n",
            "--probability p",
            "column `p`: row 0: is missing",
        ),
        (
            "weight.csv",
            "y,yhat,w\n1,1,1\n0,1,-2\n",
            "--weight w",
            "column `w`: row 1",
        ),
        (
            "unknown.csv",
            "y,yhat,pa,pb\na,a,0.5,0.5\nc,b,0.5,0.5\n",
            "--probability a=pa --probability b=pb",
            "column `y`: row 1",
        ),
        (
            "text.csv",
            "y,yhat,p\nno,no,0.1\nno,no,0.6\n",
            "--probability p",
            "name both classes",
        ),
    ] {
        write(folder, name, text);
        let said = complaint(folder, &format!("--data {name} {roles} {flags}"));
        assert!(
            said.starts_with(&format!("lodeway: {name}: ")) && said.contains(wanted),
            "{name}: {said}"
        );
    }
    let said = complaint(folder, &format!("--data none.csv {roles}"));
    assert!(said.contains("none.csv"), "{said}");
    let said = complaint(folder, "--data hole.csv --target y");
    assert!(said.contains("prediction"), "{said}");
    let said = complaint(folder, &format!("--data . {roles}"));
    assert!(said.contains("is a folder"), "{said}");
    write(folder, "twice.csv", "y,yhat,a,a\n1,1,0,0\n");
    let said = complaint(folder, &format!("--data twice.csv {roles}"));
    assert!(said.contains("column `a`: comes twice"), "{said}");
    // What only the platform does is not left out without a word.
    let said = complaint(
        folder,
        &format!("--data hole.csv {roles} --name n --max-rows 5 --max-failed 1%"),
    );
    assert!(
        said.contains("there is no use for --name, --max-rows, --max-failed"),
        "{said}"
    );

    // Rows that cannot be scored are left out where that is asked for, and counted by reason.
    let found = report(folder, &format!("--data inf.csv {roles} --skip-bad-rows"));
    assert_eq!((&found["rows"], &found["scored"]), (&3.into(), &2.into()));
    assert_eq!(found["skipped"]["`yhat` is NaN or infinite"], 1);
    // Both rows are off by as much, which leaves open how far others may be.
    let mae = &found["metrics"]["mae"];
    assert_eq!((&mae["value"], &mae["method"]), (&0.5.into(), &"none".into()));
}

#[test]
fn a_damaged_parquet_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line = "--data r.parquet --target y --prediction yhat";
    let numbers: Vec<f64> = (0..5_000).map(|row| f64::from(row).sin()).collect();
    parquet(folder, "r.parquet", &[("y", &numbers), ("yhat", &numbers)]);
    let whole = std::fs::read(folder.join("r.parquet")).unwrap();
    assert_eq!(report(folder, line)["metrics"]["r2"]["value"], 1.0);
    for (what, bytes) in [
        ("cut short", whole[..whole.len() / 2].to_vec()),
        ("no footer", [&whole[..4], &[0; 50]].concat()),
        ("a footer of zeros", [&whole[..4], &[0; 50], b"PAR1"].concat()),
        ("another format", b"PK\x03\x04 not a table".to_vec()),
    ] {
        std::fs::write(folder.join("r.parquet"), bytes).unwrap();
        let said = complaint(folder, line);
        assert!(said.starts_with("lodeway: r.parquet: "), "{what}: {said}");
    }
    // Pages that are noise under a footer that is sound.
    let mut noise = whole.clone();
    noise[4..400].fill(0xA5);
    std::fs::write(folder.join("r.parquet"), noise).unwrap();
    let said = complaint(folder, line);
    assert!(said.contains("column `y`"), "{said}");

    // Numbers that are none, in a file that is sound.
    parquet(
        folder,
        "r.parquet",
        &[("y", &[0.5, 1.5]), ("yhat", &[f64::NAN, 1.0])],
    );
    let said = complaint(folder, line);
    assert!(
        said.contains("column `yhat`: row 0: is NaN or infinite"),
        "{said}"
    );
}

#[test]
fn one_class_leaves_open_what_needs_two() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "one.csv", "y,yhat,p\n1,1,0.9\n1,0,0.2\n1,1,0.7\n");
    let line = "--data one.csv --target y --prediction yhat --probability p";
    let found = report(folder, line);
    close(&found, "accuracy", 2.0 / 3.0);
    let area = &found["metrics"]["roc_auc"];
    assert_eq!(
        (&area["value"], &area["method"]),
        (&Value::Null, &"undefined".into())
    );
    // What is not known does not hold, and says so.
    let output = evaluate(folder, &format!("{line} --threshold roc_auc>=0.1 --output json"));
    assert_eq!(output.status.code(), Some(MISSED));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["verdict"]["passed"], false);

    write(folder, "text.csv", "y,yhat,p\nno,no,0.1\nno,no,0.6\n");
    let line = "--data text.csv --target y --prediction yhat --probability p";
    let found = report(folder, &format!("{line} --classes no,yes"));
    assert_eq!(found["positive"], "yes");
    assert_eq!(found["metrics"]["accuracy"]["value"], 1.0);
}

#[test]
fn thresholds_decide_the_exit_code_and_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "predictions.csv", &answers());
    let line = "--data predictions.csv --target y --prediction yhat --probability p";
    let found = report(folder, &format!("{line} --threshold accuracy>=0.75 --out found"));
    assert_eq!(found["verdict"]["passed"], true);
    for name in ["report.json", "report.html", "rows.parquet", "roc.svg"] {
        assert!(folder.join("found").join(name).is_file(), "{name}");
    }
    let kept = std::fs::read(folder.join("found/report.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), found);
    let output = evaluate(
        folder,
        &format!("{line} --threshold accuracy.low>=0.75 --output json"),
    );
    assert_eq!(output.status.code(), Some(MISSED));
    let said = complaint(folder, &format!("{line} --threshold accuracy=0.75"));
    assert!(said.contains("accuracy=0.75"), "{said}");
    let said = complaint(folder, &format!("{line} --threshold accuracy>=baseline"));
    assert!(said.contains("--baseline-prediction"), "{said}");
    // The same data and seed, the same report; another seed, other resamples.
    let rows = (0..40).map(|row| format!("{row},{}\n", f64::from(row) + f64::from(row * 7 % 10) / 10.0));
    write(
        folder,
        "numbers.csv",
        &format!("y,yhat\n{}", rows.collect::<String>()),
    );
    let line = "--data numbers.csv --target y --prediction yhat --task regression";
    let found = report(folder, line);
    assert_eq!(report(folder, line), found);
    let other = report(folder, &format!("{line} --seed 7"));
    assert_ne!(other["metrics"]["mae"]["low"], found["metrics"]["mae"]["low"]);
    assert_eq!(other["metrics"]["mae"]["value"], found["metrics"]["mae"]["value"]);
}

#[test]
fn a_report_that_cannot_be_written_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "predictions.csv", &answers());
    for output in ["table", "json", "html"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let line = format!("--data predictions.csv --target y --prediction yhat --output {output}");
        let ended = Command::new(binary().unwrap())
            .arg("evaluate")
            .args(line.split_whitespace())
            .current_dir(folder.path())
            .stdout(full)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{output}: {said}");
        assert!(said.contains("the result cannot be written"), "{output}: {said}");
    }
}
