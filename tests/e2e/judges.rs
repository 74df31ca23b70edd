//! Judges at the command line: the usual ones, and those that a caller describes.

use lodeway_testkit::{
    llm::{Reply, ScriptedLlm},
    platform::{Settings, Shape},
};
use serde_json::json;

use crate::support::{
    command::{ask, command, refusal},
    started,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_describes_judges_of_their_own() {
    let llm = ScriptedLlm::start().unwrap();
    llm.answer_with(|asked| {
        let asked = asked.conversation();
        let score = match () {
            () if asked.contains("How kind") => json!(4),
            () if asked.contains("Which language") => json!("english"),
            () if asked.contains("How sure") => json!(0.25),
            () => json!(asked.contains("thanks")),
        };
        Reply::json(&json!({"reason": "so it sounds", "score": score}))
    });
    let house = started(Shape::Embedded, Settings::default()).await;
    ask(
        &house,
        &format!("llm create judge --url {} --model small-1", llm.base_url()),
    );
    let said = house.folder().join("said.csv");
    std::fs::write(&said, "question,said\nMay I?,yes and thanks\nWhere?,there\n").unwrap();
    let kind = house.folder().join("kind.txt");
    std::fs::write(&kind, "How kind is {{answer}} to {{prompt}}?").unwrap();
    let data = format!(
        "evaluate --data {} --prompt question --answer said",
        said.display()
    );
    let line = format!(
        "{data} --judge polite=judge --judge kind=judge --judge language=judge --judge sure=judge --judge-repeats 3 --output json \
         --judge-template kind=@{} --judge-range kind=1..5 --judge-range sure=0.0..1.0 \
         --judge-categories language=english,french",
        kind.display()
    );
    let mut evaluate = command(&house, &line);
    for template in [
        "polite=Is {{answer}} polite?",
        "language=Which language is {{answer}}?",
        "sure=How sure is {{answer}}?",
    ] {
        evaluate.args(["--judge-template", template]);
    }
    let output = evaluate.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let value = |metric: &str| done["metrics"][metric]["value"].as_f64();
    assert_eq!(value("polite/score"), Some(0.5), "{}", done["metrics"]);
    assert_eq!(
        (value("kind/score"), value("sure/score")),
        (Some(4.0), Some(0.25))
    );
    assert_eq!(value("language/share_english"), Some(1.0));
    assert_eq!(value("polite/agreement"), Some(1.0));
    // Three repeats of four judges of two rows.
    assert_eq!(llm.calls(), 24);

    for (flags, wanted) in [
        ("--judge tone=judge", "`--judge-template tone=TEXT`"),
        (
            "--judge tone=judge",
            "toxicity, relevance, faithfulness, correctness, groundedness or conciseness",
        ),
        (
            "--judge-range tone=1..5 --judge relevance=judge",
            "give `--judge tone=ROUTE` too",
        ),
        (
            "--judge t=judge --judge-template t={{answer}} --judge-range t=5",
            "`5` is no range",
        ),
        (
            "--judge t=judge --judge-template t=@nowhere.txt",
            "cannot read `nowhere.txt`",
        ),
        ("--judge t=judge --judge-template t={{nothing}}", "nothing"),
        (
            "--judge relevance=judge --replicates 5 --average micro",
            "on the platform there is no use for --replicates, --average",
        ),
    ] {
        let (code, complaint) = refusal(&house, &format!("{data} {flags}"));
        assert!(code != 0 && complaint.contains(wanted), "{flags}: {complaint}");
    }
}
