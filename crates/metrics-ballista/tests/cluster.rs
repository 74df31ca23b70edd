//! Metrics over a scheduler and two executors are those of one state in one process.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::Value;
use support::{
    cluster::{Cluster, wait_for},
    rows::{PLANS, Rows, assert_same},
};
use tempfile::TempDir;

const CHURN: [&str; 10] = [
    "--target",
    "churned",
    "--prediction",
    "predicted",
    "--probability",
    "probability",
    "--weight",
    "weight",
    "--beta",
    "0.5",
];
const PRICE: [&str; 8] = [
    "--task",
    "regression",
    "--target",
    "price",
    "--prediction",
    "price_predicted",
    "--weight",
    "weight",
];
const SPECIES: [&str; 10] = [
    "--target",
    "species",
    "--prediction",
    "guess",
    "--probability",
    "adelie=p_adelie",
    "--probability",
    "chinstrap=p_chinstrap",
    "--probability",
    "gentoo=p_gentoo",
];

struct Place {
    folder: TempDir,
    rows: Rows,
}

impl Place {
    fn new(rows: usize, parts: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let rows = Rows::new(rows, 7);
        std::fs::create_dir(folder.path().join("data")).unwrap();
        rows.write(&folder.path().join("data"), 0, parts);
        Self { folder, rows }
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }
}

fn slice<'a>(report: &'a Value, plan: &str) -> &'a Value {
    let slices = report["slices"].as_array().unwrap();
    slices.iter().find(|slice| slice["value"] == plan).unwrap()
}

#[test]
fn two_executors_give_what_one_process_gives() {
    let place = Place::new(200_000, 8);
    let cluster = Cluster::start(place.folder.path(), 2);
    let run = |arguments: &[&str], more: &[&str]| {
        cluster.begin(&place.data(), &[arguments, more].concat()).report()
    };

    let alone = Cluster::none(&place.data(), &CHURN).report();
    assert_same(&alone, &place.rows.churn());
    let churn = run(&CHURN, &["--slice", "plan"]);
    assert_eq!(churn["task"], "classification");
    assert_same(&churn, &place.rows.churn());
    assert_eq!(churn["slices"].as_array().unwrap().len(), PLANS.len());
    for (code, plan) in PLANS.iter().enumerate() {
        assert_same(slice(&churn, plan), &place.rows.of_plan(code).churn());
    }

    let price = run(&PRICE, &["--slice", "plan"]);
    assert_eq!(price["task"], "regression");
    assert_same(&price, &place.rows.price());
    for (code, plan) in PLANS.iter().enumerate() {
        assert_same(slice(&price, plan), &place.rows.of_plan(code).price());
    }

    assert_same(&run(&SPECIES, &[]), &place.rows.species());

    // More rows than a state may hold: the engine sorts them.
    let few = ["--held-values", "1000"];
    assert_same(&run(&PRICE, &few), &place.rows.price());
    let churn = run(&CHURN, &[few.as_slice(), &["--slice", "plan"]].concat());
    assert_same(&churn, &place.rows.churn());
    let gold = &slice(&churn, "gold")["metrics"];
    assert!(gold["log_loss"].is_object() && gold["roc_auc"].is_null());
    for executor in &cluster.executors {
        assert!(executor.outputs() > 0, "both executors did some of it");
        assert!(executor.process.peak_memory() < 512, "in little memory");
    }
}

#[test]
fn an_executor_lost_in_the_middle_changes_nothing() {
    const PARTS: usize = 16;
    let place = Place::new(2_000_000, PARTS);
    let mut cluster = Cluster::start(place.folder.path(), 2);
    let mut running = cluster.begin(&place.data(), &CHURN);
    wait_for("the first output", || cluster.executors[0].outputs() > 0);
    cluster.executors[0].lose();
    assert!(running.is_running(), "it was lost in the middle");
    assert_same(&running.report(), &place.rows.churn());
    // What was lost was done again: the states of all parts, and the report.
    assert!(cluster.executors[1].outputs() > PARTS);
}

#[test]
fn what_is_wrong_with_the_data_is_said() {
    let place = Place::new(1_000, 2);
    let cluster = Cluster::start(place.folder.path(), 1);
    let wrong = |arguments: &[&str]| {
        let output = cluster.begin(&place.data(), arguments).output();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = wrong(&["--target", "churned", "--prediction", "species"]);
    assert!(error.contains("task"), "{error}");
    let error = wrong(&["--target", "churn", "--prediction", "predicted"]);
    assert!(error.contains("columns[\"churn\"]"), "{error}");
    let error = wrong(&["--target", "species", "--probability", "p_gentoo"]);
    assert!(error.contains("name the negative and the positive"), "{error}");
    let error = wrong(&["--target", "churned", "--probability", "price"]);
    assert!(error.contains("probability"), "{error}");
}
