"""Evaluations as strangers see them: a model of the stock client, evaluated through the command and through grpcio."""

import json
import os
import subprocess
import sys
import uuid
import warnings

import grpc
import numpy as np
import pandas as pd
import pytest
from platform_process import Platform, binary
from test_serving import runtime_env

warnings.filterwarnings("ignore")


@pytest.fixture(scope="module")
def host():
    with Platform(env=runtime_env()) as running:
        yield running


@pytest.fixture(scope="module")
def churn():
    """Rows of three features and a class, half to fit, half to hold out."""
    random = np.random.default_rng(3)
    rows = pd.DataFrame(random.normal(size=(1200, 3)), columns=["age", "spend", "visits"])
    rows["plan"] = random.choice(["basic", "plus"], size=len(rows))
    noise = random.normal(scale=0.5, size=len(rows))
    rows["churned"] = (rows["age"] - rows["spend"] + noise > 0).astype(int)
    return rows[:600], rows[600:].reset_index(drop=True)


@pytest.fixture(scope="module")
def versions(host, churn):
    """Registers two versions of `churn`, the second one good; gives what scikit-learn says of each."""
    import mlflow
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression

    mlflow.set_tracking_uri(host.url)
    mlflow.set_registry_uri(host.url)
    mlflow.set_experiment("churn")
    fit, held_out = churn
    features = ["age", "spend", "visits"]
    said = []
    for labels in [(fit["visits"] > 0).astype(int), fit["churned"]]:
        model = LogisticRegression().fit(fit[features], labels)
        signature = infer_signature(fit[features], model.predict(fit[features]))
        with mlflow.start_run():
            mlflow.sklearn.log_model(model, name="model", signature=signature, registered_model_name="churn")
        said.append(model.predict(held_out[features]))
    return said


def lodeway(host, *args):
    env = {k: v for k, v in os.environ.items() if not k.startswith("LODEWAY_")}
    command = [binary(), *args, "--address", host.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=env)


def test_a_logged_model_is_evaluated_and_equals_scikit_learn(host, churn, versions, tmp_path):
    import mlflow
    from sklearn.metrics import accuracy_score, f1_score, fbeta_score, matthews_corrcoef, precision_recall_fscore_support

    _, held_out = churn
    file = tmp_path / "churn_test.parquet"
    held_out.to_parquet(file)
    done = lodeway(
        host, "evaluate", "models:/churn/2", "--data", str(file), "--target", "churned", "--slice", "plan",
        "--threshold", "accuracy>=0.8", "--threshold", "f1>=baseline+0.1", "--baseline", "models:/churn/1",
        "--beta", "0.5", "--threshold", "fbeta_0.5.low>=0.5", "--output", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    truth, said = held_out["churned"], versions[1]
    expected = {
        "accuracy": accuracy_score(truth, said),
        "f1": f1_score(truth, said),
        "fbeta_0.5": fbeta_score(truth, said, beta=0.5),
        "matthews": matthews_corrcoef(truth, said),
    }
    for name, value in expected.items():
        metric = found["metrics"][name]
        assert metric["value"] == pytest.approx(value, rel=1e-9)
        assert metric["low"] < metric["value"] < metric["high"]
    assert found["verdict"]["passed"] and len(found["verdict"]["clauses"]) == 3
    classes = precision_recall_fscore_support(truth, said)
    assert [row["class"] for row in found["per_class"]] == ["0", "1"]
    for name, values in zip(["precision", "recall", "f1", "support"], classes):
        assert [row[name] for row in found["per_class"]] == pytest.approx(values.tolist(), rel=1e-9)
    assert len(found["content_digest"]) == 64

    run = mlflow.get_run(found["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["accuracy"] == found["metrics"]["accuracy"]["value"]
    assert run.data.tags["lodeway.model.version"] == "2"
    assert run.inputs.model_inputs and run.inputs.dataset_inputs
    results = mlflow.artifacts.download_artifacts(run_id=found["run_id"], artifact_path="results.parquet")
    kept = pd.read_parquet(results)
    assert kept["prediction"].tolist() == said.tolist()
    assert kept["baseline_prediction"].tolist() == versions[0].tolist()

    verified = lodeway(host, "evaluation", "verify", found["evaluation_id"], "--predict-again")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_verdict_that_fails_ends_the_command_with_an_error(host, churn, versions, tmp_path):
    _, held_out = churn
    file = tmp_path / "churn_test.csv"
    held_out.to_csv(file, index=False)
    data = ["--data", str(file), "--target", "churned"]
    failed = lodeway(host, "evaluate", "models:/churn/1", *data, "--threshold", "accuracy>=0.9")
    assert failed.returncode == 1, failed.stderr
    assert "0.9" in failed.stdout and "does not hold" in failed.stderr
    missing = lodeway(host, "evaluate", "models:/churn/1", "--data", str(file), "--target", "gone")
    assert missing.returncode == 4
    assert "`gone`" in missing.stderr
    ids = []
    for version in [2, 1]:
        done = lodeway(host, "evaluate", f"models:/churn/{version}", *data, "--output", "json")
        ids.append(json.loads(done.stdout)["evaluation_id"])
    # The same file was sent twice, and its values are the same.
    compared = lodeway(host, "evaluation", "compare", *ids, "--metric", "accuracy", "--output", "json")
    assert compared.returncode == 0, compared.stderr
    (accuracy,) = json.loads(compared.stdout)
    assert accuracy["conclusion"] == "better" and accuracy["p_value"] < 1e-6


def test_texts_are_scored_as_rouge_score_and_sacrebleu_do(tmp_path):
    """Prose of Python's own reference, beside the same prose as an answer might repeat it."""
    from pydoc_data.topics import topics
    from rouge_score import rouge_scorer
    from sacrebleu.metrics import BLEU, CHRF

    random = np.random.default_rng(5)
    expected, answers = [], []
    for text in topics.values():
        paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
        for paragraph in [paragraph for paragraph in paragraphs if len(paragraph.split()) >= 8][:6]:
            words = paragraph.split(" ")
            kept = [word for word in words if random.random() > 0.15]
            at = random.integers(len(kept) + 1)
            expected.append(paragraph)
            answers.append(" ".join(kept[at:] + kept[:at]))
    assert len(expected) > 300
    file = tmp_path / "texts.parquet"
    pd.DataFrame({"expected": expected, "answer": answers}).to_parquet(file)
    env = {k: v for k, v in os.environ.items() if not k.startswith("LODEWAY_")}
    command = [binary(), "evaluate", "--data", str(file), "--answer", "answer", "--expected", "expected"]
    done = subprocess.run([*command, "--output", "json"], capture_output=True, text=True, timeout=180, env=env)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    rouge = rouge_scorer.RougeScorer(kinds, use_stemmer=False)
    scores = [rouge.score(*pair) for pair in zip(expected, answers)]
    for kind in kinds:
        assert metrics[kind]["value"] == pytest.approx(np.mean([score[kind].fmeasure for score in scores]), rel=1e-9)
    for name, library in [("bleu", BLEU()), ("chrf", CHRF())]:
        assert metrics[name]["value"] == pytest.approx(library.corpus_score(answers, [expected]).score, rel=1e-9)
        assert metrics[name]["low"] < metrics[name]["value"] < metrics[name]["high"]


def test_grpcio_creates_watches_and_reads(host, churn, versions, stubs, tmp_path):
    from lodeway.evaluation.v1 import evaluation_pb2, evaluation_service_pb2, evaluation_service_pb2_grpc

    import mlflow

    _, held_out = churn
    file = tmp_path / "rows.jsonl"
    held_out.to_json(file, orient="records", lines=True)
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(file))
    location = f"{mlflow.get_run(run.info.run_id).info.artifact_uri}/rows.jsonl"
    with grpc.insecure_channel(host.target) as channel:
        api = evaluation_service_pb2_grpc.EvaluationServiceStub(channel)
        spec = evaluation_pb2.EvaluationSpec(
            dataset=evaluation_pb2.DatasetRef(name=location),
            target=evaluation_pb2.EvaluationTarget(model_uri="models:/churn/2"),
        )
        spec.roles.target = "churned"
        request = evaluation_service_pb2.CreateEvaluationRequest(spec=spec, request_id=str(uuid.uuid4()))
        made = api.CreateEvaluation(request).evaluation
        assert api.CreateEvaluation(request).evaluation.evaluation_id == made.evaluation_id
        watched = evaluation_service_pb2.WatchEvaluationRequest(evaluation_id=made.evaluation_id)
        pushed = [push.evaluation for push in api.WatchEvaluation(watched, timeout=120)]
        assert pushed[-1].state == evaluation_pb2.EVALUATION_STATE_SUCCEEDED, pushed[-1].error
        read = evaluation_service_pb2.ReadResultsRequest(evaluation_id=made.evaluation_id)
        rows = [row for message in api.ReadResults(read) for row in message.rows]
        assert [row["prediction"] for row in rows] == versions[1].tolist()
        with pytest.raises(grpc.RpcError) as refused:
            api.CreateEvaluation(evaluation_service_pb2.CreateEvaluationRequest())
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "spec" in refused.value.details()


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, *sys.argv[1:]]))
