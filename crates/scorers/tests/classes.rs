//! Metrics of each class by itself, and F scores of further betas.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails it")]

use lodeway_metrics::{ClassScores, Estimate};
use lodeway_scorers::{Evaluator, Plan, PlanOptions, Probability, Report, Roles, Thresholds, plots};
use lodeway_tables::{Batch, Column, Texts, Type, Values};

fn texts(name: &str, values: &[&str]) -> Column {
    let values: Texts = values.iter().copied().collect();
    Column::new(name, Type::Text, Values::Text(values), None).unwrap()
}

/// Ten rows of truth and prediction.
fn pets(classes: [&str; 3]) -> Batch {
    let [a, b, c] = classes;
    Batch::new(vec![
        texts("y", &[a, a, a, a, b, b, b, c, c, a]),
        texts("yhat", &[a, a, b, a, b, b, a, c, b, c]),
    ])
    .unwrap()
}

fn evaluate(rows: &Batch, betas: &[f64], analytic_above: u64) -> Report {
    let plan = Plan {
        roles: Roles {
            target: Some("y".to_owned()),
            prediction: Some("yhat".to_owned()),
            ..Roles::default()
        },
        options: PlanOptions {
            betas: betas.to_vec(),
            analytic_above,
            replicates: 200,
            ..PlanOptions::default()
        },
        ..Plan::default()
    };
    let mut evaluator = Evaluator::new(plan, &rows.schema()).unwrap();
    evaluator.push(rows).unwrap();
    evaluator.finish().unwrap()
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1e-12
}

#[test]
fn each_class_has_a_row_of_its_own() {
    for analytic_above in [100_000, 2] {
        let report = evaluate(&pets(["cat", "dog", "emu"]), &[], analytic_above);
        let classes: Vec<&str> = report.per_class.iter().map(|row| row.class.as_str()).collect();
        assert_eq!(classes, ["cat", "dog", "emu"]);
        // By hand, and as scikit-learn's classification_report has it: cat 3 of 4 predicted, of 5 true.
        let cat = &report.per_class[0];
        assert!(
            near(cat.precision, 0.75) && near(cat.recall, 0.6) && near(cat.f1, 2.0 / 3.0),
            "{cat:?}"
        );
        let emu = &report.per_class[2];
        assert!(
            near(emu.precision, 0.5) && near(emu.recall, 0.5) && near(emu.f1, 0.5),
            "{emu:?}"
        );
        let supports: Vec<f64> = report.per_class.iter().map(|row| row.support).collect();
        assert_eq!(supports, [5.0, 3.0, 2.0]);
        let mean = report.per_class.iter().map(|row| row.f1).sum::<f64>() / 3.0;
        assert!(near(report.metrics["f1_macro"].value, mean));
        assert_eq!(
            Report::from_json(&report.to_json().unwrap()).unwrap().per_class,
            report.per_class
        );
        assert!(plots::html("pets", &report).contains("<tr><td>emu<td class=\"n\">0.500000"));
    }
}

#[test]
fn further_f_scores_have_intervals_and_thresholds() {
    for analytic_above in [100_000, 2] {
        let two = evaluate(&pets(["no", "yes", "no"]), &[0.5, 2.0], analytic_above);
        // `yes`: 2 of 4 predicted, of 3 true; beta² times as much recall.
        let f = |beta: f64| (1.0 + beta * beta) * 2.0 / (beta * beta * 3.0 + 4.0);
        assert!(
            near(two.metrics["fbeta_0.5"].value, f(0.5)),
            "{:?}",
            two.metrics["fbeta_0.5"]
        );
        assert!(near(two.metrics["fbeta_2"].value, f(2.0)));
        assert!(near(two.metrics["f1"].value, f(1.0)));
        let metric = &two.metrics["fbeta_0.5"];
        assert!(
            metric.low < metric.value && metric.value < metric.high,
            "{metric:?}"
        );
        let clauses = ["fbeta_0.5>=0.5", "fbeta_0.5.low>=0.9", "fbeta_2.value<=1"];
        let clauses = clauses.map(|text| text.parse().unwrap()).to_vec();
        let verdict = Thresholds { clauses }.judge(&two, None);
        let passed: Vec<bool> = verdict.clauses.iter().map(|clause| clause.passed).collect();
        assert_eq!(passed, [true, false, true]);
        assert_eq!(verdict.clauses[0].clause.to_string(), "fbeta_0.5>=0.5");
    }
    let three = evaluate(&pets(["cat", "dog", "emu"]), &[0.5], 100_000);
    let names: Vec<&String> = three
        .metrics
        .keys()
        .filter(|name| name.starts_with("fbeta"))
        .collect();
    assert_eq!(
        names,
        [
            "fbeta_0.5",
            "fbeta_0.5_macro",
            "fbeta_0.5_micro",
            "fbeta_0.5_weighted"
        ]
    );
    assert_eq!(three.metrics["fbeta_0.5"], three.metrics["fbeta_0.5_macro"]);
    assert!("accuracy.lo>=0.5".parse::<lodeway_scorers::Clause>().is_err());
}

/// The class and the probabilities of a row.
fn of_row(row: u64) -> (u32, [f64; 3]) {
    let noise = |salt: u64| (row + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) % 1000;
    let class = (noise(0) % 3) as u32;
    let mut scores = [1, 2, 3].map(|salt| 1.0 + noise(salt) as f64);
    scores[class as usize] += 300.0;
    let total: f64 = scores.iter().sum();
    (class, scores.map(|score| score / total))
}

fn near_estimate(found: &lodeway_scorers::Metric, expected: &Estimate) -> bool {
    let width = (found.high - found.low) / (expected.high - expected.low);
    near(found.value, expected.value) && (width - 1.0).abs() < 0.02
}

#[test]
fn areas_of_classes_that_do_not_fit_are_sorted_on_disk() {
    // More rows of each slice than are held in memory for their order.
    let rows = 150_000_u64;
    let column = |name: &str, values| Column::new(name, Type::Float64, Values::Double(values), None).unwrap();
    let batch = |rows: std::ops::Range<u64>| {
        let of_class = |class: usize| rows.clone().map(|row| of_row(row).1[class]).collect();
        let ints = |name: &str, of: &dyn Fn(u64) -> i64| {
            let values = rows.clone().map(of).collect();
            Column::new(name, Type::Int64, Values::Int(values), None).unwrap()
        };
        Batch::new(vec![
            ints("y", &|row| i64::from(of_row(row).0)),
            ints("part", &|row| (row % 2) as i64),
            column("p0", of_class(0)),
            column("p1", of_class(1)),
            column("p2", of_class(2)),
        ])
        .unwrap()
    };
    let probability = |class: usize| Probability {
        class: Some(class.to_string()),
        column: format!("p{class}"),
    };
    let plan = Plan {
        roles: Roles {
            target: Some("y".to_owned()),
            probabilities: (0..3).map(probability).collect(),
            slices: vec!["part".to_owned()],
            ..Roles::default()
        },
        options: PlanOptions {
            analytic_above: 1_000,
            digest: false,
            ..PlanOptions::default()
        },
        ..Plan::default()
    };
    let mut evaluator = Evaluator::new(plan, &batch(0..1).schema()).unwrap();
    for from in (0..rows).step_by(10_000) {
        evaluator.push(&batch(from..from + 10_000)).unwrap();
    }
    let report = evaluator.finish().unwrap();
    let in_memory = |kept: &dyn Fn(u64) -> bool| {
        let mut scores = ClassScores::new(3, usize::MAX);
        let (truth, values): (Vec<_>, Vec<_>) = (0..rows).filter(|row| kept(*row)).map(of_row).unzip();
        scores.update(&truth, &values.concat(), None).unwrap();
        scores.auc(1.959_964)
    };
    let whole = in_memory(&|_| true);
    assert!(near_estimate(&report.metrics["roc_auc_ovo"], &whole.ovo));
    assert_eq!(report.slices.len(), 2);
    for (part, slice) in report.slices.iter().enumerate() {
        let expected = in_memory(&|row| row % 2 == part as u64);
        let pairs = [
            ("roc_auc", expected.ovr),
            ("roc_auc_ovr_weighted", expected.ovr_weighted),
            ("roc_auc_ovo", expected.ovo),
            ("roc_auc_ovo_weighted", expected.ovo_weighted),
        ];
        for (name, expected) in pairs {
            let found = &slice.metrics[name];
            assert!(near_estimate(found, &expected), "{name}: {found:?} {expected:?}");
        }
    }
}
