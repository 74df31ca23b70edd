"""The unmodified mlflow 3 client against the edge, as a data scientist uses it."""

import json
import math
import os
import urllib.parse
import urllib.request
import uuid

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge


def experiment(mlflow):
    return mlflow.set_experiment(f"team/client/{uuid.uuid4().hex}").experiment_id


def test_a_run_records_params_metrics_tags_and_artifacts(mlflow_here, tmp_path):
    mlflow = mlflow_here
    experiment(mlflow)
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots/a.txt").write_text("a")
    with mlflow.start_run(run_name="one", tags={"team": "a"}) as run:
        mlflow.log_params({"lr": 0.1, "depth": 3})
        for step in range(20):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"nan": math.nan, "acc": 0.5})
        mlflow.log_artifacts(str(tmp_path), "files")
        mlflow.log_dict({"k": 1}, "d.json")
    client = mlflow.MlflowClient()
    got = client.get_run(run.info.run_id)
    assert got.info.status == "FINISHED" and got.info.run_name == "one"
    assert got.data.params == {"lr": "0.1", "depth": "3"}
    assert got.data.tags["team"] == "a"
    assert got.data.metrics["loss"] == 1 / 20 and math.isnan(got.data.metrics["nan"])
    assert [m.value for m in client.get_metric_history(run.info.run_id, "loss")] == [1 / (s + 1) for s in range(20)]
    assert sorted(f.path for f in client.list_artifacts(run.info.run_id)) == ["d.json", "files"]
    folder = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/files", dst_path=str(tmp_path / "out"))
    assert open(f"{folder}/plots/a.txt").read() == "a"


def test_names_of_files_with_percent_signs(mlflow_here, tmp_path):
    # The client sends names as they are: to a server each of the first two has an escape, of no UTF-8.
    names = ["10%CAses.csv", "per%CEnt.txt", "100%.txt", "größe 1.txt"]
    (tmp_path / "files").mkdir()
    for name in names:
        (tmp_path / "files" / name).write_text(name)
    with mlflow_here.start_run() as run:
        mlflow_here.log_artifacts(str(tmp_path / "files"), "files")
    folder = mlflow_here.artifacts.download_artifacts(f"runs:/{run.info.run_id}/files", dst_path=str(tmp_path / "out"))
    assert sorted(open(f"{folder}/{name}").read() for name in os.listdir(folder)) == sorted(names)
    assert mlflow_here.artifacts.load_text(f"{run.info.artifact_uri}/files/10%CAses.csv") == "10%CAses.csv"
    # A folder whose name has an escape is put under what that stands for, and asked for by its name.
    with mlflow_here.start_run() as run:
        mlflow_here.log_text("x", "50%25 off/a.txt")
    client = mlflow_here.MlflowClient()
    assert [file.path for file in client.list_artifacts(run.info.run_id, "50%25 off")] == ["50%25 off/a.txt"]
    folder = client.download_artifacts(run.info.run_id, "50%25 off", str(tmp_path))
    assert open(f"{folder}/a.txt").read() == "x"


@pytest.mark.parametrize("written, folder", [("sp ace", "sp ace"), ("pc%20t", "pc t"), ("two%2520s", "two%20s")])
def test_locations_with_escapes(mlflow_here, platform, tmp_path, written, folder):
    client = mlflow_here.MlflowClient()
    unique = uuid.uuid4().hex
    where = client.create_experiment(unique, artifact_location=f"mlflow-artifacts:/{written}/{unique}")
    run = client.create_run(where).info
    client.log_text(run.run_id, "x", "a b/f 1.txt")
    on_disk = platform.data_dir / "artifacts" / folder / unique / run.run_id / "artifacts/a b/f 1.txt"
    assert on_disk.read_text() == "x"
    assert [file.path for file in client.list_artifacts(run.run_id)] == ["a b"]
    assert open(client.download_artifacts(run.run_id, "a b", str(tmp_path)) + "/f 1.txt").read() == "x"
    # A version of that folder has its files too: the server itself looks for them at the URI.
    client.create_registered_model(unique)
    if "%25" in written:
        # Clients do not read it alike, so nobody could promise that a promoted version stays what it was.
        with pytest.raises(mlflow_here.MlflowException, match="escape that stands for an escape"):
            client.create_model_version(unique, f"{run.artifact_uri}/a%20b", run.run_id)
        return
    version = client.create_model_version(unique, f"{run.artifact_uri}/a%20b", run.run_id).version
    query = urllib.parse.urlencode({"name": unique, "version": version, "path": "f 1.txt"})
    with urllib.request.urlopen(f"{platform.url}/model-versions/get-artifact?{query}") as answer:
        assert answer.read() == b"x"


def test_autologging_a_classifier(mlflow_here):
    mlflow = mlflow_here
    experiment(mlflow)
    mlflow.sklearn.autolog()
    x, y = load_iris(return_X_y=True, as_frame=True)
    with mlflow.start_run() as run:
        LogisticRegression(max_iter=200).fit(x, y)
    data = mlflow.get_run(run.info.run_id).data
    assert data.params["max_iter"] == "200" and data.metrics["training_accuracy_score"] > 0.9
    models = mlflow.search_logged_models(experiment_ids=[run.info.experiment_id], output_format="list")
    assert len(models) == 1 and models[0].source_run_id == run.info.run_id


def test_nested_runs_and_search(mlflow_here):
    mlflow = mlflow_here
    exp = experiment(mlflow)
    with mlflow.start_run(run_name="parent") as parent:
        for i in range(5):
            with mlflow.start_run(run_name=f"child{i}", nested=True):
                mlflow.log_metric("m", i)
    children = mlflow.search_runs(
        [exp],
        f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and metrics.m >= 2",
        order_by=["metrics.m DESC"],
    )
    assert list(children["metrics.m"]) == [4, 3, 2]
    pages = []
    client = mlflow.MlflowClient()
    token = None
    while True:
        page = client.search_runs([exp], max_results=2, page_token=token)
        pages += [r.info.run_id for r in page]
        token = page.token
        if not token:
            break
    assert len(pages) == len(set(pages)) == 6


@pytest.mark.parametrize("as_pyfunc", [True, False])
def test_a_model_is_logged_registered_moved_and_loaded(mlflow_here, as_pyfunc):
    mlflow = mlflow_here
    experiment(mlflow)
    name = f"ridge-{uuid.uuid4().hex[:8]}"
    x, y = load_diabetes(return_X_y=True)
    model = Ridge().fit(x, y)
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(model, name="model", registered_model_name=name, input_example=x[:2])
    client = mlflow.MlflowClient()
    client.transition_model_version_stage(name, "1", "Production")
    client.set_registered_model_alias(name, "champion", "1")
    version = client.get_model_version_by_alias(name, "champion")
    assert version.current_stage == "Production"
    registered = client.get_logged_model(logged.model_id).tags["mlflow.modelVersions"]
    assert {"name": name, "version": "1"} in [
        {"name": r["name"], "version": str(r["version"])} for r in json.loads(registered)
    ]
    assert client.get_latest_versions(name, ["Production"])[0].version == "1"
    load = mlflow.pyfunc.load_model if as_pyfunc else mlflow.sklearn.load_model
    for uri in (f"models:/{name}/1", f"models:/{name}/Production", f"models:/{name}@champion", logged.model_uri):
        np.testing.assert_array_equal(load(uri).predict(x), model.predict(x))


def test_evaluate_inside_a_run(mlflow_here):
    mlflow = mlflow_here
    experiment(mlflow)
    x, y = load_iris(return_X_y=True, as_frame=True)
    with mlflow.start_run() as run:
        logged = mlflow.sklearn.log_model(LogisticRegression(max_iter=300).fit(x, y), name="model")
        result = mlflow.models.evaluate(
            logged.model_uri, x.assign(label=y), targets="label", model_type="classifier", evaluator_config={"log_explainer": False}
        )
    assert result.metrics["accuracy_score"] > 0.9
    assert mlflow.get_run(run.info.run_id).data.metrics["accuracy_score"] == result.metrics["accuracy_score"]


def test_datasets_of_a_run(mlflow_here):
    mlflow = mlflow_here
    exp = experiment(mlflow)
    frame = load_iris(as_frame=True).frame
    with mlflow.start_run() as run:
        mlflow.log_input(mlflow.data.from_pandas(frame, name="iris", targets="target"), context="training")
    inputs = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert [i.dataset.name for i in inputs] == ["iris"]
    found = mlflow.search_runs([exp], "dataset.name = 'iris' and dataset.context = 'training'")
    assert list(found["run_id"]) == [run.info.run_id]


def test_deleting_and_restoring(mlflow_here):
    mlflow = mlflow_here
    exp = experiment(mlflow)
    with mlflow.start_run() as run:
        pass
    client = mlflow.MlflowClient()
    client.delete_run(run.info.run_id)
    assert client.search_runs([exp]) == []
    with pytest.raises(mlflow.MlflowException, match="must be in the 'active' state"):
        client.log_metric(run.info.run_id, "m", 1.0)
    client.restore_run(run.info.run_id)
    client.delete_experiment(exp)
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "deleted"
    client.restore_experiment(exp)
    assert len(client.search_runs([exp])) == 1


def test_an_unknown_thing_is_a_clear_error(mlflow_here):
    mlflow = mlflow_here
    client = mlflow.MlflowClient()
    with pytest.raises(mlflow.MlflowException, match="RESOURCE_DOES_NOT_EXIST"):
        client.get_run("0" * 32)
    with pytest.raises(mlflow.MlflowException, match="RESOURCE_DOES_NOT_EXIST"):
        client.get_registered_model("there-is-no-such-model")
