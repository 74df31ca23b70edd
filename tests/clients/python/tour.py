"""Plays the five-minute start: a real model on a real data set, tracked, registered, promoted, taken back, scored.

`cargo xtask tour` runs it against a release build. It fails at the first thing that is not as a user would expect.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from platform_process import ROOT, Platform, lodeway  # noqa: E402


def say(text: str):
    print(text, flush=True)


def step(number: int, text: str):
    say(f"\n{number}. {text}")


def data_scientist(url: str):
    """Trains with the unmodified `mlflow` package."""
    import mlflow
    from mlflow import MlflowClient
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, log_loss
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mlflow.set_tracking_uri(url)
    mlflow.set_experiment("tour/breast-cancer")
    features, target = load_breast_cancer(return_X_y=True, as_frame=True)
    train_x, test_x, train_y, test_y = train_test_split(features, target, random_state=0)

    runs = []
    for strength in (0.01, 1.0):
        with mlflow.start_run(run_name=f"logreg C={strength}") as run:
            mlflow.log_param("C", strength)
            for iterations in range(1, 11):
                model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=iterations))
                model.fit(train_x, train_y)
                loss = log_loss(test_y, model.predict_proba(test_x))
                mlflow.log_metric("test_log_loss", loss, step=iterations)
            accuracy = accuracy_score(test_y, model.predict(test_x))
            mlflow.log_metric("test_accuracy", accuracy)
            mlflow.log_text(f"accuracy {accuracy:.4f}\n", "notes/summary.txt")
            mlflow.sklearn.log_model(
                model, name="model", input_example=test_x.head(3), registered_model_name="breast-cancer"
            )
            runs.append(run.info.run_id)
            say(f"   run {run.info.run_id}: C={strength}, accuracy {accuracy:.4f}")

    client = MlflowClient()
    curve = client.get_metric_history(runs[1], "test_log_loss")
    assert [m.step for m in curve] == list(range(1, 11)), "the curve has every point"
    best = client.search_runs(
        [client.get_experiment_by_name("tour/breast-cancer").experiment_id],
        "metrics.test_accuracy > 0.9",
        order_by=["metrics.test_log_loss ASC"],
    )[0]
    assert best.info.run_id in runs
    text = mlflow.artifacts.load_text(f"runs:/{runs[0]}/notes/summary.txt")
    assert text.startswith("accuracy 0."), text
    say(f"   best by log loss: {best.info.run_name}; its curve has {len(curve)} points")

    client.transition_model_version_stage("breast-cancer", "1", "Production")
    client.transition_model_version_stage("breast-cancer", "2", "Production", archive_existing_versions=True)
    client.set_registered_model_alias("breast-cancer", "champion", "2")
    stages = {v.version: v.current_stage for v in client.search_model_versions("name='breast-cancer'")}
    assert stages == {"1": "Archived", "2": "Production"}, stages
    say(f"   stages: {stages}")
    return runs, test_x, test_y


def score(uri: str, test_x, test_y) -> float:
    import mlflow
    from sklearn.metrics import accuracy_score

    return accuracy_score(test_y, mlflow.pyfunc.load_model(uri).predict(test_x))


def stubs_user(target: str, out: Path):
    """Does the same from stubs that were generated from the contract."""
    sources = [str(p.relative_to(ROOT / "proto")) for p in sorted((ROOT / "proto/lodeway").rglob("*.proto"))]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}"]
        + sources,
        check=True,
    )
    sys.path.insert(0, str(out))
    import grpc
    from lodeway.registry.v1 import registry_service_pb2 as registry
    from lodeway.registry.v1 import registry_service_pb2_grpc as registry_grpc
    from lodeway.tracking.v1 import metric_pb2
    from lodeway.tracking.v1 import tracking_service_pb2 as tracking
    from lodeway.tracking.v1 import tracking_service_pb2_grpc as tracking_grpc

    with grpc.insecure_channel(target) as channel:
        tracker = tracking_grpc.TrackingServiceStub(channel)
        experiment = tracker.CreateExperiment(tracking.CreateExperimentRequest(name="tour/stubs")).experiment
        run = tracker.CreateRun(
            tracking.CreateRunRequest(experiment_id=experiment.experiment_id, name="from stubs")
        ).run
        points = [metric_pb2.Metric(key="loss", value=1 / (i + 1), step=i) for i in range(1_000)]
        tracker.LogBatch(tracking.LogBatchRequest(run_id=run.run_id, metrics=points))
        history = tracker.ListMetricHistory(
            tracking.ListMetricHistoryRequest(run_id=run.run_id, metric_key="loss", order="METRIC_ORDER_STEP")
        ).metrics
        assert len(history) == 1_000 and history[-1].value == 1 / 1_000
        ledger = registry_grpc.RegistryServiceStub(channel).ListTransitions(
            registry.ListTransitionsRequest(name="breast-cancer")
        ).transitions
        say(f"   {len(history)} points logged and read back; {len(ledger)} ledger entries of breast-cancer read")


def operator(url: str):
    """Asks with a reflection client that has no file of ours."""
    buf = os.environ.get("LODEWAY_TEST_BUF", "buf")
    with tempfile.TemporaryDirectory() as empty:
        reply = subprocess.run(
            [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", '{"name": "breast-cancer"}']
            + [f"{url}/lodeway.registry.v1.RegistryService/GetRegisteredModel"],
            cwd=empty,
            capture_output=True,
            text=True,
            check=True,
        )
    model = json.loads(reply.stdout)["model"]
    assert model["aliases"] == {"champion": "2"}, model
    say(f"   buf curl sees {model['name']} with aliases {model['aliases']}")


def main():
    started = time.monotonic()
    os.environ.setdefault("MLFLOW_TRACKING_USERNAME", "ada")
    os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", "unchecked-without-a-token-table")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with Platform() as platform, tempfile.TemporaryDirectory() as out:
        step(1, f"a data scientist with the stock mlflow client against {platform.url}")
        _, test_x, test_y = data_scientist(platform.url)

        step(2, "who promoted version 2, and taking it back")
        history = json.loads(lodeway("model", "history", "breast-cancer", "--output", "json", url=platform.url).stdout)
        promotion = next(t for t in history if t.get("version") == 2 and t.get("to_stage") == "Production")
        assert promotion["principal"] == "ada", promotion
        say(f"   {promotion['principal']} moved version 2 from {promotion['from_stage']} to Production")
        by_stage = score("models:/breast-cancer/Production", test_x, test_y)
        lodeway(
            "model", "rollback", str(promotion["transition_id"]), "--comment", "too early", url=platform.url
        )
        shown = json.loads(lodeway("model", "show", "breast-cancer", "--output", "json", url=platform.url).stdout)
        in_production = [v["version"] for v in shown["latest_versions"] if v["stage"] == "Production"]
        assert in_production == [1], shown
        say(f"   rolled back: version {in_production[0]} is in Production again")

        step(3, "loading by stage and by alias, and scoring")
        restored = score("models:/breast-cancer/Production", test_x, test_y)
        champion = score("models:/breast-cancer@champion", test_x, test_y)
        assert champion == by_stage
        say(f"   accuracy: Production {restored:.4f}, @champion {champion:.4f}")

        step(4, "another user with generated gRPC stubs")
        stubs_user(platform.target, Path(out))

        step(5, "an operator with a reflection client")
        operator(platform.url)
    say(f"\nthe tour took {time.monotonic() - started:.1f} s; everything was there")


if __name__ == "__main__":
    main()
