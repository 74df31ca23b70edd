"""Models that the stock client logs, served and called as strangers do: curl's forms, tritonclient, grpcio."""

import concurrent.futures
import glob
import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import grpc
import numpy as np
import pandas as pd
import pytest
import requests
from platform_process import Platform, binary, free_port, wait_for

warnings.filterwarnings("ignore")

REGISTERED = "x-lodeway-model-version"


def runtime_env():
    """What the model host needs to find: this interpreter's environment and ONNX Runtime's library."""
    import onnxruntime

    library = glob.glob(os.path.join(os.path.dirname(onnxruntime.__file__), "capi", "libonnxruntime.so*"))
    return {"VIRTUAL_ENV": sys.prefix, "ORT_DYLIB_PATH": library[0]}


@pytest.fixture(scope="module")
def host():
    with Platform(env=runtime_env()) as running:
        yield running


@pytest.fixture(scope="module")
def iris():
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True, as_frame=True)


@pytest.fixture(scope="module")
def models(host, iris):
    """Registers one model of each kind; gives what `mlflow.pyfunc` predicts with each."""
    import mlflow
    import xgboost
    from mlflow.models import infer_signature
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.linear_model import LinearRegression, LogisticRegression

    mlflow.set_tracking_uri(host.url)
    mlflow.set_registry_uri(host.url)
    # The client remembers the experiment another module chose, which this platform does not have.
    mlflow.set_experiment("serving")
    X, y = iris
    classifier = LogisticRegression(max_iter=500).fit(X, y)
    signature = infer_signature(X, classifier.predict(X))
    common = {"signature": signature, "input_example": X[:5], "name": "model"}
    with mlflow.start_run():
        mlflow.sklearn.log_model(classifier, registered_model_name="iris", **common)
    with mlflow.start_run():
        other = LogisticRegression(max_iter=500, C=0.01).fit(X, y)
        mlflow.sklearn.log_model(other, registered_model_name="iris", **common)
    with mlflow.start_run():
        boosted = xgboost.XGBClassifier(n_estimators=20).fit(X, y)
        mlflow.xgboost.log_model(boosted, registered_model_name="boosted", **common)
    # A plain booster scores with all its rounds, also with those after the best one.
    halves = [xgboost.DMatrix(X[part::2], label=y[part::2]) for part in (0, 1)]
    stopped = xgboost.train(
        {"objective": "reg:squarederror", "eta": 0.9},
        halves[0],
        60,
        evals=[(halves[1], "test")],
        early_stopping_rounds=3,
        verbose_eval=False,
    )
    assert stopped.best_iteration + 1 < stopped.num_boosted_rounds()
    floats = infer_signature(X, stopped.predict(halves[0]))
    with mlflow.start_run():
        mlflow.xgboost.log_model(stopped, registered_model_name="stopped", signature=floats, name="model")
    # No trees: what is not scored natively is left to its own library.
    linear = xgboost.train({"booster": "gblinear", "nthread": 1}, halves[0], 5)
    with mlflow.start_run():
        mlflow.xgboost.log_model(linear, registered_model_name="linear", signature=floats, name="model")
    with mlflow.start_run():
        # One output a row, which is the shape that MLflow's own wrapper can answer a table with.
        regression = LinearRegression().fit(X, y)
        graph = convert_sklearn(regression, initial_types=[("input", FloatTensorType([None, 4]))])
        regressed = infer_signature(X, regression.predict(X))
        mlflow.onnx.log_model(
            graph, name="model", signature=regressed, input_example=X[:5], registered_model_name="graph"
        )

    class Greeter(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [f"hello {name}" for name in model_input["name"]]

        def predict_stream(self, context, model_input, params=None):
            yield from "abc"

    with mlflow.start_run():
        example = pd.DataFrame({"name": ["a", "b"]})
        mlflow.pyfunc.log_model(
            name="model", python_model=Greeter(), input_example=example, registered_model_name="greeter"
        )
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("iris", "champion", "1")
    names = ["iris", "boosted", "stopped", "linear", "graph"]
    return {name: mlflow.pyfunc.load_model(f"models:/{name}/1").predict(X) for name in names}


@pytest.fixture(scope="module")
def stub(host, stubs):
    from lodeway.gateway.v1 import endpoint_service_pb2_grpc

    with grpc.insecure_channel(host.target) as channel:
        yield endpoint_service_pb2_grpc.EndpointServiceStub(channel)


def make(stub, name, *targets, **spec):
    """Creates an endpoint; a target is (reference, weight) or (name, reference, weight)."""
    from lodeway.gateway.v1 import endpoint_pb2, endpoint_service_pb2

    named = [target if len(target) == 3 else ("", *target) for target in targets]
    targets = [endpoint_pb2.Target(name=n, reference=r, weight=w) for n, r, w in named]
    request = endpoint_service_pb2.CreateEndpointRequest(
        name=name, spec=endpoint_pb2.RevisionSpec(targets=targets, **spec)
    )
    return stub.CreateEndpoint(request).endpoint


@pytest.fixture(scope="module")
def endpoints(host, models, stub):
    made = {
        "iris": make(stub, "iris", ("models:/iris@champion", 1)),
        "boosted": make(stub, "boosted", ("models:/boosted/1", 1)),
        "stopped": make(stub, "stopped", ("models:/stopped/1", 1)),
        "linear": make(stub, "linear", ("models:/linear/1", 1)),
        "graph": make(stub, "graph", ("models:/graph/1", 1)),
        "greeter": make(stub, "greeter", ("models:/greeter/1", 1)),
    }
    return {name: endpoint.target_statuses[0].platform for name, endpoint in made.items()}


def score(host, name, body, content_type="application/json", **headers):
    return requests.post(
        f"{host.url}/endpoints/{name}/invocations",
        data=body,
        headers={"content-type": content_type, **headers},
        timeout=60,
    )


def forms(X):
    """Every form of a scoring document."""
    parquet = io.BytesIO()
    X.to_parquet(parquet)
    yield "application/json", json.dumps({"dataframe_split": X.to_dict(orient="split")})
    yield "application/json", json.dumps({"dataframe_records": X.to_dict(orient="records")})
    yield "application/json", json.dumps({"inputs": {column: X[column].tolist() for column in X}})
    yield "application/json", json.dumps({"instances": X.to_dict(orient="records")})
    yield "text/csv", X.to_csv(index=False)
    yield "application/vnd.apache.parquet", parquet.getvalue()


def test_each_model_runs_where_it_runs_best(endpoints):
    assert endpoints == {
        "iris": "mlflow_python_function",
        "boosted": "xgboost",
        "stopped": "xgboost",
        "linear": "mlflow_python_function",
        "graph": "onnxruntime_onnx",
        "greeter": "mlflow_python_function",
    }


@pytest.mark.parametrize("name", ["iris", "boosted", "stopped", "linear"])
def test_answers_are_those_of_mlflow_to_the_last_bit(host, endpoints, models, iris, name):
    for content_type, body in forms(iris[0]):
        if name in ("boosted", "stopped") and "parquet" in content_type:
            continue
        reply = score(host, name, body, content_type)
        assert reply.status_code == 200, (content_type, reply.text)
        assert reply.json()["predictions"] == models[name].tolist(), content_type
        assert reply.headers[REGISTERED] == "1" and reply.headers["x-lodeway-prediction-id"]


def test_a_booster_refuses_what_xgboost_refuses(host, endpoints, iris):
    import mlflow

    X = iris[0][:2].copy()
    X.iloc[1, 2] = 1e300
    with pytest.raises(Exception, match="too large"):
        mlflow.pyfunc.load_model("models:/stopped/1").predict(X)
    reply = score(host, "stopped", json.dumps({"dataframe_split": X.to_dict(orient="split")}))
    assert reply.status_code == 400 and "row 1, column 2" in reply.json()["message"], reply.text
    assert score(host, "boosted", json.dumps({"dataframe_split": X.to_dict(orient="split")})).status_code == 200


def test_native_answers_are_within_1e_6(host, endpoints, models, iris):
    reply = score(host, "graph", json.dumps({"dataframe_split": iris[0].to_dict(orient="split")}))
    got = pd.DataFrame(reply.json()["predictions"])
    want = models["graph"]
    assert list(got.columns) == list(want.columns)
    assert np.abs(got.to_numpy() - want.to_numpy()).max() <= 1e-6


def test_a_native_model_is_compared_with_its_own_framework(host, endpoints, stubs):
    from lodeway.serving.v1 import deployment_pb2, deployment_service_pb2, deployment_service_pb2_grpc

    with grpc.insecure_channel(host.target) as channel:
        stub = deployment_service_pb2_grpc.DeploymentServiceStub(channel)
        for source in ("models:/graph/1", "models:/boosted/1"):
            request = deployment_service_pb2.CreateDeploymentRequest(
                source=source, settings=deployment_pb2.DeploymentSettings(check_parity=True)
            )
            made = stub.CreateDeployment(request).deployment

            def checked(made=made):
                get = deployment_service_pb2.GetDeploymentRequest(deployment_id=made.deployment_id)
                parity = stub.GetDeployment(get).deployment.parity
                return parity if parity.was_checked else None

            parity = wait_for(checked, f"the check of {source}", 120)
            assert parity.max_abs_difference < 1e-5, parity
            assert parity.detail.endswith("of the model's own framework, over 5 rows"), parity


def test_bad_input_names_the_column(host, endpoints):
    row = {"sepal length (cm)": 5.1, "sepal width (cm)": 3.5, "petal length (cm)": 1.4, "petal width (cm)": 0.2}
    for column, bad in (("sepal width (cm)", "wide"), ("petal width (cm)", None)):
        spoilt = {**row, column: bad}
        if bad is None:
            del spoilt[column]
        reply = score(host, "iris", json.dumps({"dataframe_records": [spoilt]}))
        assert reply.status_code == 400 and reply.json()["error_code"] == "INVALID_PARAMETER_VALUE"
        assert column in reply.json()["message"]
    for body, code in (("[1]", 400), ("{", 400), ('{"instances": [1], "inputs": [1]}', 400)):
        assert score(host, "iris", body).status_code == code, body
    assert score(host, "iris", "x", "application/xml").status_code == 415
    missing = score(host, "nothing", "{}")
    assert missing.status_code == 404 and missing.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tritonclient(host, endpoints, models, iris, protocol):
    import importlib

    triton = importlib.import_module(f"tritonclient.{protocol}")
    X = iris[0]
    client = triton.InferenceServerClient(host.target)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("boosted")
    columns = []
    for column in X:
        tensor = triton.InferInput(column, [len(X)], "FP64")
        tensor.set_data_from_numpy(X[column].to_numpy())
        columns.append(tensor)
    for name in ("iris", "boosted"):
        answer = client.infer(name, columns)
        assert (answer.as_numpy("predictions") == models[name]).all(), name
    option = {"http": "request_compression_algorithm", "grpc": "compression_algorithm"}[protocol]
    for packing in ("gzip", "deflate"):
        answer = client.infer("iris", columns, **{option: packing})
        assert (answer.as_numpy("predictions") == models["iris"]).all(), packing
    matrix = triton.InferInput("input", [len(X), 4], "FP32")
    matrix.set_data_from_numpy(X.to_numpy(dtype=np.float32))
    answer = client.infer("graph", [matrix], outputs=[triton.InferRequestedOutput("variable")])
    assert np.abs(answer.as_numpy("variable") - models["graph"].to_numpy()).max() <= 1e-6
    narrow = triton.InferInput("input", [len(X), 3], "FP32")
    narrow.set_data_from_numpy(X.to_numpy(dtype=np.float32)[:, :3].copy())
    with pytest.raises(Exception, match=r'inputs\["input"\].shape'):
        client.infer("graph", [narrow])
    with pytest.raises(Exception, match="does not exist"):
        client.infer("nothing", [matrix])
    client.unload_model("graph")
    answer = client.infer("graph", [matrix])
    assert answer.as_numpy("variable").shape == (len(X), 1), "an unloaded model is loaded when it is asked for"


def test_a_model_that_streams(host, endpoints):
    import queue

    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(host.target)
    answers = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    name = triton.InferInput("name", [1], "BYTES")
    name.set_data_from_numpy(np.array([b"anybody"], dtype=np.object_))
    client.async_stream_infer("greeter", [name])
    seen = [answers.get(timeout=30) for _ in range(3)]
    client.stop_stream()
    assert all(error is None for _, error in seen)
    assert [str(result.as_numpy("predictions").item(), "utf8") for result, _ in seen] == ["a", "b", "c"]


def test_an_alias_is_followed_and_a_split_is_sticky(host, endpoints, iris, stub):
    import mlflow

    body = json.dumps({"dataframe_split": iris[0][:1].to_dict(orient="split")})

    def version(**headers):
        reply = score(host, "iris", body, **headers)
        assert reply.status_code == 200, reply.text
        return reply.headers[REGISTERED]

    client = mlflow.MlflowClient()
    assert version() == "1"
    client.set_registered_model_alias("iris", "champion", "2")
    wait_for(lambda: version() == "2", "the endpoint to follow its alias", 60)
    client.set_registered_model_alias("iris", "champion", "1")
    wait_for(lambda: version() == "1", "the endpoint to follow its alias back", 60)

    from lodeway.gateway.v1 import traffic_split_pb2

    make(
        stub,
        "split",
        ("old", "models:/iris/1", 80),
        ("new", "models:/iris/2", 20),
        sticky_key=traffic_split_pb2.StickyKey(header="x-user"),
        rules=[traffic_split_pb2.MatchRule(header="x-beta", equals="yes", target="new")],
    )
    by_user = {}
    for user in range(200):
        first, second = (
            score(host, "split", body, **{"x-user": f"user-{user}"}).headers[REGISTERED] for _ in range(2)
        )
        assert first == second
        by_user[user] = first
    share = sum(v == "2" for v in by_user.values()) / len(by_user)
    assert 0.1 < share < 0.3, share
    assert score(host, "split", body, **{"x-beta": "yes", "x-user": "user-1"}).headers[REGISTERED] == "2"


def test_every_answer_explains_itself(host, endpoints, iris, stubs):
    from google.protobuf import timestamp_pb2
    from lodeway.gateway.v1 import monitor_pb2, monitor_pb2_grpc

    body = json.dumps({"dataframe_split": iris[0][:3].to_dict(orient="split")})
    reply = score(host, "boosted", body)
    with grpc.insecure_channel(host.target) as channel:
        stub = monitor_pb2_grpc.MonitorServiceStub(channel)
        prediction_id = reply.headers["x-lodeway-prediction-id"]
        told = stub.ExplainPrediction(monitor_pb2.ExplainPredictionRequest(prediction_id=prediction_id))
        assert (told.endpoint, told.model_name, told.model_version) == ("boosted", "boosted", "1")
        assert told.content_digest and told.revision.number == 1
        forged = prediction_id[:-1] + ("A" if prediction_id[-1] != "A" else "B")
        with pytest.raises(grpc.RpcError) as refused:
            stub.ExplainPrediction(monitor_pb2.ExplainPredictionRequest(prediction_id=forged))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        now = timestamp_pb2.Timestamp()
        now.GetCurrentTime()
        served = stub.ServedAt(monitor_pb2.ServedAtRequest(endpoint="boosted", time=now))
        assert served.targets[0].model_version == "1"
        measured = stub.QueryMonitor(monitor_pb2.QueryMonitorRequest(endpoint="boosted")).targets
        assert measured[0].outcomes["ok"] >= 1 and measured[0].latency.count >= 1
        names = {feature.name for feature in measured[0].features}
        assert "sepal length (cm)" in names
    metrics = requests.get(host.url + "/metrics", timeout=10).text
    assert 'lodeway_endpoint_calls_total{workspace="default",endpoint="boosted"' in metrics


def test_copies_for_a_shadow_are_no_calls_of_the_endpoint(host, endpoints, iris, stub):
    from lodeway.gateway.v1 import traffic_split_pb2

    targets = (("old", "models:/boosted/1", 1), ("new", "models:/stopped/1", 0))
    make(stub, "mirrored", *targets, shadow=traffic_split_pb2.Shadow(target="new", share=1.0))
    body = json.dumps({"dataframe_split": iris[0][:1].to_dict(orient="split")})
    for _ in range(5):
        assert score(host, "mirrored", body).status_code == 200

    def counted(series):
        lines = requests.get(host.url + "/metrics", timeout=10).text.splitlines()
        of = [line for line in lines if line.startswith(f'{series}{{workspace="default",endpoint="mirrored"')]
        return sum(int(line.rsplit(" ", 1)[1]) for line in of)

    wait_for(lambda: counted("lodeway_endpoint_shadow_calls_total") == 5, "the copies to be counted", 30)
    assert counted("lodeway_endpoint_calls_total") == 5


def test_a_version_that_cannot_be_loaded_is_refused_and_traffic_stays(host, endpoints, iris, stub, tmp_path):
    import mlflow
    from lodeway.gateway.v1 import endpoint_pb2, endpoint_service_pb2

    class Broken(mlflow.pyfunc.PythonModel):
        def load_context(self, context):
            raise RuntimeError("planted: cannot be loaded")

        def predict(self, context, model_input, params=None):
            return model_input

    with mlflow.start_run():
        mlflow.pyfunc.log_model(name="model", python_model=Broken(), registered_model_name="broken")
    with pytest.raises(grpc.RpcError) as refused:
        make(stub, "broken", ("models:/broken/1", 1))
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "cannot be loaded" in refused.value.details()
    target = endpoint_pb2.Target(reference="models:/broken/1", weight=1)
    request = endpoint_service_pb2.CreateRevisionRequest(
        name="boosted", spec=endpoint_pb2.RevisionSpec(targets=[target])
    )
    with pytest.raises(grpc.RpcError):
        stub.CreateRevision(request)
    body = json.dumps({"dataframe_split": iris[0][:1].to_dict(orient="split")})
    assert score(host, "boosted", body).status_code == 200
    assert stub.GetEndpoint(endpoint_service_pb2.GetEndpointRequest(name="boosted")).endpoint.revision.number == 1


def test_a_killed_worker_fails_nobody(host, endpoints, iris):
    body = json.dumps({"dataframe_split": iris[0][:1].to_dict(orient="split")})
    ps = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    # A model's process is forked from an interpreter that was started with a folder below the platform's.
    workers = [int(line.split()[0]) for line in ps.splitlines() if f"{host.data_dir}/workers" in line]
    assert workers, ps
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(score, host, "iris", body) for _ in range(40)]
        # The youngest process is a model's; the oldest are the interpreters that models are forked from.
        os.kill(max(workers), signal.SIGKILL)
        codes = [call.result().status_code for call in calls]
        codes += [score(host, "iris", body).status_code for _ in range(5)]
    assert set(codes) == {200}


def test_a_restart_serves_at_once(iris, models, host, tmp_path):
    """Endpoints come back with their targets, and the model is loaded by the first call."""
    import mlflow

    folder = mlflow.artifacts.download_artifacts("models:/boosted/1", dst_path=str(tmp_path / "model"))
    data = tmp_path / "data"
    env = runtime_env()
    body = json.dumps({"dataframe_split": iris[0].to_dict(orient="split")})
    with Platform(data_dir=data, env=env) as running:
        client = mlflow.MlflowClient(running.url, running.url)
        client.create_registered_model("kept")
        run = client.create_run("0")
        client.log_artifacts(run.info.run_id, folder, "model")
        client.create_model_version("kept", f"runs:/{run.info.run_id}/model", run.info.run_id)
        made = requests.post(f"{running.url}/endpoints/kept/invocations", data=body, timeout=10)
        assert made.status_code == 404
        created = subprocess.run(
            [binary(), "endpoint", "create", "kept", "--model", "models:/kept/1"],
            env={**os.environ, "LODEWAY_ADDRESS": running.url},
            capture_output=True,
            text=True,
        )
        assert created.returncode == 0, created.stderr
        assert score(running, "kept", body).json()["predictions"] == models["boosted"].tolist()
        running.kill()
    with Platform(data_dir=data, env=env) as running:
        assert score(running, "kept", body).json()["predictions"] == models["boosted"].tolist()


def test_serve_model_alone(host, models, iris, tmp_path):
    import mlflow

    folder = mlflow.artifacts.download_artifacts("models:/boosted/1", dst_path=str(tmp_path / "model"))
    body = json.dumps({"dataframe_split": iris[0].to_dict(orient="split")})
    for model in (folder, "models:/boosted/1"):
        port = free_port()
        process = subprocess.Popen(
            [binary(), "serve-model", model, "--port", str(port)],
            env={**os.environ, **runtime_env(), "LODEWAY_ADDRESS": host.url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}"

            def is_ready():
                try:
                    return requests.get(url + "/ping", timeout=5).status_code == 200
                except requests.ConnectionError:
                    return False

            wait_for(is_ready, f"{model} to be served", 60)
            reply = requests.post(url + "/invocations", data=body, timeout=30)
            assert reply.json()["predictions"] == models["boosted"].tolist()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_a_flipped_byte_is_refused_with_its_path(host, models, stub, iris):
    """The files of a version are those it was registered with, or it is not served."""
    import mlflow

    with mlflow.start_run() as run:
        mlflow.log_artifacts(
            mlflow.artifacts.download_artifacts("models:/boosted/1", dst_path=str(host.data_dir.parent / "flipped")),
            "model",
        )
    client = mlflow.MlflowClient()
    client.create_registered_model("flipped")
    client.create_model_version("flipped", f"runs:/{run.info.run_id}/model", run.info.run_id)
    stored = glob.glob(f"{host.data_dir}/artifacts/**/{run.info.run_id}/**/model.ubj", recursive=True)
    assert stored
    with open(stored[0], "r+b") as file:
        file.seek(200)
        byte = file.read(1)
        file.seek(200)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(grpc.RpcError) as refused:
        make(stub, "flipped", ("models:/flipped/1", 1))
    assert "model.ubj" in refused.value.details(), refused.value.details()


def test_one_hundred_swaps_under_load_fail_no_call(host, endpoints, iris, stub):
    from lodeway.gateway.v1 import endpoint_pb2, endpoint_service_pb2

    make(stub, "swapped", ("a", "models:/boosted/1", 1), ("b", "models:/graph/1", 0))
    body = json.dumps({"dataframe_split": iris[0][:1].to_dict(orient="split")})
    codes, over = [], False

    def load():
        session = requests.Session()
        while not over:
            reply = session.post(f"{host.url}/endpoints/swapped/invocations", data=body, timeout=30)
            codes.append(reply.status_code)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(load) for _ in range(4)]
        for swap in range(100):
            weights = (1, 0) if swap % 2 else (0, 1)
            targets = [
                endpoint_pb2.Target(name=n, reference=r, weight=w)
                for (n, r), w in zip((("a", "models:/boosted/1"), ("b", "models:/graph/1")), weights)
            ]
            stub.CreateRevision(
                endpoint_service_pb2.CreateRevisionRequest(
                    name="swapped", spec=endpoint_pb2.RevisionSpec(targets=targets)
                )
            )
        over = True
        for caller in callers:
            caller.result()
    assert len(codes) > 100 and set(codes) == {200}
    endpoint = stub.GetEndpoint(endpoint_service_pb2.GetEndpointRequest(name="swapped")).endpoint
    assert endpoint.revision.number == 101


def test_a_canary_goes_up_by_steps_and_a_failing_one_comes_back(host, endpoints, iris, stub, stubs):
    """The good one reaches all traffic and moves the alias; the one that raises gives the traffic back by itself."""
    import mlflow
    from google.protobuf import duration_pb2
    from lodeway.gateway.v1 import endpoint_pb2, endpoint_service_pb2, rollout_pb2

    class Raises(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            if len(model_input) == 1:
                raise RuntimeError("planted")
            return model_input.iloc[:, 0]

    from mlflow.models import infer_signature

    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="model",
            python_model=Raises(),
            signature=infer_signature(iris[0], iris[1]),
            registered_model_name="raises",
        )
    make(stub, "canary", ("old", "models:/iris/1", 1))
    body = json.dumps({"dataframe_split": iris[0][:1].to_dict(orient="split")})
    plan = rollout_pb2.RolloutPlan(
        steps=[
            rollout_pb2.RolloutStep(
                share=share, min_duration=duration_pb2.Duration(seconds=1), min_samples=samples
            )
            for share, samples in ((0.5, 5), (1.0, 10))
        ],
        guards=[rollout_pb2.RolloutGuard(error_rate=rollout_pb2.ErrorRateGuard(max=0.2), min_samples=5)],
        completion=rollout_pb2.RolloutCompletion(alias="served"),
    )

    def run(reference, name):
        target = endpoint_pb2.Target(name=name, reference=reference)
        request = endpoint_service_pb2.StartRolloutRequest(name="canary", target=target, plan=plan)
        rollout_id = stub.StartRollout(request).rollout.rollout_id
        codes = []

        def ended():
            codes.extend(score(host, "canary", body).status_code for _ in range(4))
            rollout = stub.GetRollout(endpoint_service_pb2.GetRolloutRequest(rollout_id=rollout_id)).rollout
            return rollout if rollout.HasField("end_time") else None

        return wait_for(ended, f"the rollout of {reference} to end", 120), codes

    done, codes = run("models:/iris/2", "new")
    assert done.state == rollout_pb2.ROLLOUT_STATE_COMPLETED, done
    assert set(codes) == {200}
    assert mlflow.MlflowClient().get_model_version_by_alias("iris", "served").version == "2"
    assert score(host, "canary", body).headers[REGISTERED] == "2"

    back, _ = run("models:/raises/1", "bad")
    assert back.state == rollout_pb2.ROLLOUT_STATE_ROLLED_BACK, back
    assert back.reason
    assert {score(host, "canary", body).headers[REGISTERED] for _ in range(10)} == {"2"}


def test_one_trace_goes_from_the_edge_into_the_workers_log(host, endpoints, iris, stub, stubs):
    import mlflow
    from lodeway.gateway.v1 import monitor_pb2, monitor_pb2_grpc
    from mlflow.models import infer_signature

    class Fails(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            if len(model_input) == 1:
                raise RuntimeError("planted for a trace")
            return model_input.iloc[:, 0]

    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="model",
            python_model=Fails(),
            signature=infer_signature(iris[0], iris[1]),
            registered_model_name="fails",
        )
    make(stub, "traced", ("models:/fails/1", 1))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    body = json.dumps({"dataframe_split": iris[0][:1].to_dict(orient="split")})
    answer = score(host, "traced", body, **headers)
    assert answer.status_code == 400, answer.text
    wait_for(
        lambda: f"call {trace} failed:" in host.log.read_text(errors="replace"), "the worker's line in the log", 20
    )
    with grpc.insecure_channel(host.target) as channel:
        monitor = monitor_pb2_grpc.MonitorServiceStub(channel)
        request = monitor_pb2.ReadPredictionsRequest(endpoint="traced", with_failed=True)
        records = monitor.ReadPredictions(request).predictions
    assert {record.trace_id for record in records} == {trace}
    assert all(record.outcome != "OK" for record in records)


def test_a_terminated_platform_drains(models, iris, host, tmp_path):
    """SIGTERM under load: whoever was let in gets an answer."""
    import mlflow

    folder = mlflow.artifacts.download_artifacts("models:/boosted/1", dst_path=str(tmp_path / "model"))
    port = free_port()
    process = subprocess.Popen(
        [binary(), "serve-model", folder, "--port", str(port)],
        env={**os.environ, **runtime_env()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def is_ready():
        try:
            return requests.get(url + "/ping", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    wait_for(is_ready, "the model to be served", 60)
    body = json.dumps({"dataframe_split": iris[0].to_dict(orient="split")})
    bad = []

    def load():
        session = requests.Session()
        while True:
            try:
                reply = session.post(url + "/invocations", data=body, timeout=30)
            except requests.ConnectionError:
                # Refused, or closed between two calls: never let in.
                return
            if reply.status_code != 200:
                bad.append(reply.status_code)
                return

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(load) for _ in range(4)]
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.result()
    assert process.wait(30) == 0
    assert bad == []


def test_a_typed_service_is_found_by_reflection(host, endpoints, models, iris):
    """No file of ours in hand: the service, its fields and its types come from the server."""
    from google.protobuf import descriptor_pool, message_factory
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    X = iris[0]
    with grpc.insecure_channel(host.target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        name = "lodeway.endpoints.boosted.BoostedService"
        assert name in database.get_services()
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName(name)

        def call(method, message, packing=grpc.Compression.NoCompression):
            found = service.methods_by_name[method]
            answer = message_factory.GetMessageClass(found.output_type)
            send = channel.unary_unary(
                f"/{name}/{method}",
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            return send(message, compression=packing)

        request = message_factory.GetMessageClass(service.methods_by_name["Predict"].input_type)
        fields = [field.name for field in request.DESCRIPTOR.fields]
        columns = {field.json_name: field.name for field in request.DESCRIPTOR.fields}
        assert set(X.columns) <= set(columns), fields
        row = {columns[column]: float(X[column].iloc[60]) for column in X}
        answer = call("Predict", request(**row))
        assert answer.model_version == "1" and answer.prediction_id
        values = [value for field, value in answer.ListFields() if field.name not in ("model_version", "prediction_id")]
        assert values == [models["boosted"][60]] or models["boosted"][60] == 0
        batch = message_factory.GetMessageClass(service.methods_by_name["PredictBatch"].input_type)
        rows = [{columns[column]: float(X[column].iloc[i]) for column in X} for i in range(3)]
        assert len(call("PredictBatch", batch(rows=rows)).rows) == 3
        assert len(call("PredictBatch", batch(rows=rows * 100), grpc.Compression.Gzip).rows) == 300


@pytest.fixture(scope="module")
def unsigned(host, models, stub, iris):
    """Models of which no signature says what they take or give, behind endpoints of their names; what MLflow answers."""
    import mlflow
    import xgboost
    from mlflow.models import infer_signature
    from mlflow.pyfunc import scoring_server
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    class Shown(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            if isinstance(model_input, pd.DataFrame):
                return [f"frame {list(model_input.columns)!r} {model_input.to_numpy().tolist()}"]
            if isinstance(model_input, dict):
                return [f"dict { {key: self.shown(value) for key, value in model_input.items()} }"]
            return [self.shown(model_input)]

        @staticmethod
        def shown(value):
            is_array = isinstance(value, np.ndarray)
            return f"{value.dtype} {value.tolist()!r}" if is_array else f"{type(value).__name__} {value!r}"

    X, y = iris
    species = load_iris().target_names[y]
    plain = X.to_numpy(dtype=np.float32)
    with mlflow.start_run():
        mlflow.pyfunc.log_model(name="model", python_model=Shown(), registered_model_name="shown")
    columns = infer_signature(X)
    for name, labels, signature in (("zipped", species, columns), ("numbered", y.to_numpy(), None)):
        # By default the converter ends in a map from class to probability.
        graph = to_onnx(LogisticRegression(max_iter=500).fit(plain, labels), plain[:1])
        with mlflow.start_run():
            mlflow.onnx.log_model(graph, name="model", registered_model_name=name, signature=signature)
    boosted = xgboost.XGBClassifier(n_estimators=3).fit(X, y)
    with mlflow.start_run():
        mlflow.xgboost.log_model(boosted, name="model", registered_model_name="plain")
    names = ("shown", "zipped", "numbered", "plain")
    for name in names:
        make(stub, name, (f"models:/{name}/1", 1))
    loaded = {name: mlflow.pyfunc.load_model(f"models:/{name}/1") for name in names}

    def by_mlflow(name, document):
        schema = loaded[name].metadata.get_input_schema()
        reply = scoring_server.invocations(json.dumps(document), "application/json", loaded[name], schema)
        return json.loads(reply.response)["predictions"] if reply.status == 200 else None

    return by_mlflow


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": {"a": [1.0, 2.0]}},
        {"inputs": {"a": [1.0, 2.0], "b": [3.0, 4.0]}},
        {"instances": [{"a": 1.0}, {"a": 2.0}]},
        {"inputs": [1.0, 2.0]},
        {"instances": [[1.0], [2.0]]},
        {"inputs": ["a", "bcd"]},
        {"inputs": "größer"},
        {"inputs": {"a": ["x", ""], "b": [["y", "zz"]]}},
        {"instances": [{"a": "x"}, {"a": "yy"}]},
        {"inputs": ["a", None]},
        {"inputs": [1, "a"]},
        {"inputs": []},
        {"instances": []},
        {"inputs": [[]]},
        {"inputs": {"a": []}},
        {"inputs": [True, False]},
        {"inputs": 2},
        {"instances": [{"a": 1}, {"b": 2}]},
        {"instances": [{"a": 1, "b": [1]}, {"b": [2], "a": 3}]},
        {"dataframe_split": {"data": [[1, 2]]}},
        {"dataframe_split": {"columns": [0, 1], "data": [[1, 2]]}},
        {"dataframe_split": {"columns": ["0", "1"], "data": [[1, 2]]}},
        {"dataframe_split": {"columns": [1, "a"], "data": [[1, 2]]}},
        {"dataframe_records": [{"0": 1, "b": 2}]},
    ],
    ids=json.dumps,
)
def test_without_a_signature_a_model_gets_what_mlflow_gives_it(host, unsigned, document):
    want = unsigned("shown", document)
    # Some editors and libraries begin with a byte order mark.
    for mark in (b"", b"\xef\xbb\xbf"):
        reply = score(host, "shown", mark + json.dumps(document).encode())
        assert reply.status_code == 200, reply.text
        assert reply.json()["predictions"] == want


def test_columns_that_the_model_was_not_trained_on_are_refused(host, unsigned, iris):
    X = iris[0][:2]
    for table in (X, X[X.columns[::-1]], X.rename(columns={X.columns[1]: "width"}), X[X.columns[:3]]):
        document = {"dataframe_split": table.to_dict(orient="split")}
        try:
            want = unsigned("plain", document)
        except Exception:
            want = None
        reply = score(host, "plain", json.dumps(document))
        assert (reply.status_code == 200) == (want is not None) == (table is X), reply.text
        if want is not None:
            assert reply.json()["predictions"] == want


def test_a_classifier_in_onnx_names_its_classes(host, unsigned, iris):
    X = iris[0][::30]
    matrix = X.to_numpy().tolist()
    for name, document in (
        ("zipped", {"dataframe_split": X.to_dict(orient="split")}),
        ("zipped", {"dataframe_records": X.to_dict(orient="records")}),
        ("numbered", {"inputs": {"X": matrix}}),
        ("numbered", {"inputs": matrix}),
    ):
        reply = score(host, name, json.dumps(document))
        assert reply.status_code == 200, reply.text
        assert reply.json()["predictions"] == unsigned(name, document), (name, document)
