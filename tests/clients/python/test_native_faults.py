"""Models in ONNX that would take the platform with them: graphs that do not survive a table without rows, or do not end."""

import concurrent.futures
import json
import signal

import numpy as np
import onnx
import pytest
import requests
from onnx import TensorProto, helper
from platform_process import Platform, lodeway, wait_for
from test_serving import runtime_env

# Far more rounds than anybody waits for.
ENDLESS = 2**50


def log(graph, name, example):
    import mlflow
    from mlflow.models import infer_signature

    inputs, outputs = example
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    mlflow.onnx.log_model(
        model, name="model", registered_model_name=name, signature=infer_signature(inputs, outputs)
    )


def joined():
    """Two columns made one by an operator that ends the process where there are no rows."""
    column = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in "ab"]
    table = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])
    node = helper.make_node(
        "FeatureVectorizer", ["a", "b"], ["y"], domain="ai.onnx.ml", inputdimensions=[1, 1]
    )
    return helper.make_graph([node], "joined", column, [table])


def rounds():
    """As many rounds of a loop as the input says."""

    def info(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Add", ["v", "one"], ["w"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, [1])],
        [info("goes", TensorProto.BOOL, []), info("w", TensorProto.FLOAT, [1])],
    )
    nodes = [
        helper.make_node("Reshape", ["n", "scalar"], ["m"]),
        helper.make_node("Loop", ["m", "yes", "zero"], ["y"], body=body),
    ]
    constants = [
        helper.make_tensor("scalar", TensorProto.INT64, [0], []),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
    ]
    return helper.make_graph(
        nodes, "rounds", [info("n", TensorProto.INT64, [1])], [info("y", TensorProto.FLOAT, [1])], constants
    )


@pytest.fixture(scope="module")
def host():
    import mlflow
    import pandas as pd

    with Platform(env=runtime_env()) as running:
        mlflow.set_tracking_uri(running.url)
        mlflow.set_registry_uri(running.url)
        mlflow.set_experiment("faults")
        table = pd.DataFrame({"a": np.float32([1, 2]), "b": np.float32([3, 4])})
        log(joined(), "joined", (table, {"y": np.float32([[1, 3], [2, 4]])}))
        log(rounds(), "rounds", ({"n": np.int64([2])}, {"y": np.float32([2])}))
        for name in ("joined", "rounds"):
            lodeway("endpoint", "create", name, "--model", f"models:/{name}/1", url=running.url)
        yield running


def score(host, name, document):
    return requests.post(f"{host.url}/endpoints/{name}/invocations", json=document, timeout=60)


def test_a_table_without_rows_gets_an_answer_without_rows(host):
    full = score(host, "joined", {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}})
    assert full.status_code == 200 and len(full.json()["predictions"]) == 1, full.text
    empty = score(host, "joined", {"dataframe_split": {"columns": ["a", "b"], "data": []}})
    assert (empty.status_code, empty.json()) == (200, {"predictions": []}), empty.text
    tensors = [{"name": name, "datatype": "FP32", "shape": [0, 1], "data": []} for name in "ab"]
    oip = requests.post(f"{host.url}/v2/models/joined/infer", json={"inputs": tensors}, timeout=60)
    assert oip.status_code == 200, oip.text
    assert [(y["name"], y["shape"], y["data"]) for y in oip.json()["outputs"]] == [("y", [0, 2], [])]
    tensors[1].update(shape=[1, 1], data=[1.0])
    mixed = requests.post(f"{host.url}/v2/models/joined/infer", json={"inputs": tensors}, timeout=60)
    assert mixed.status_code == 400, mixed.text
    assert requests.get(f"{host.url}/health", timeout=10).status_code == 200


def test_runs_that_do_not_end_hold_up_nobody_and_are_stopped(host):
    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(host.target)

    def infer(count, seconds=60):
        tensor = triton.InferInput("n", [1], "INT64")
        tensor.set_data_from_numpy(np.int64([count]))
        return client.infer("rounds", [tensor], client_timeout=seconds).as_numpy("y")

    # Often enough that the model counts as a quick one.
    for count in range(1, 20):
        assert infer(count) == [count]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        endless = [pool.submit(infer, ENDLESS, 4) for _ in range(6)]
        for _ in range(5):
            assert requests.get(f"{host.url}/v2/health/live", timeout=10).status_code == 200
            assert requests.get(f"{host.url}/health", timeout=10).status_code == 200
        for call in endless:
            with pytest.raises(triton.InferenceServerException, match="(?i)deadline"):
                call.result()
    # Nothing of them is left at work.
    assert infer(3) == [3]
    late = score(host, "rounds", {"inputs": {"n": [5]}})
    assert late.status_code == 200 and json.loads(late.text)["predictions"], late.text


def test_runs_whose_callers_left_hold_nothing(host):
    def leave(seconds):
        with pytest.raises(requests.Timeout):
            requests.post(
                f"{host.url}/endpoints/rounds/invocations", json={"inputs": {"n": [ENDLESS]}}, timeout=seconds
            )

    # More than there are places, so that some have waited.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(leave, (0.5, 0.5, 0.5, 0.5, 2, 2, 2, 2)))

    def idle():
        shown = json.loads(lodeway("deployment", "list", "--output", "json", url=host.url).stdout)
        return all(not one.get("active_calls") and not one.get("queued_calls") for one in shown)

    # Far sooner than the endpoint's own limit of half a minute.
    wait_for(idle, "the runs of callers who left to end", 20)
    assert score(host, "rounds", {"inputs": {"n": [3]}}).status_code == 200


def test_an_operator_that_fails_is_the_inputs_fault(host):
    reply = score(host, "rounds", {"inputs": {"n": [1, 2]}})
    assert reply.status_code == 400, reply.text


def test_a_process_that_runs_such_a_model_ends_when_told():
    with Platform(env=runtime_env()) as running:
        import mlflow

        mlflow.set_tracking_uri(running.url)
        mlflow.set_registry_uri(running.url)
        mlflow.set_experiment("faults")
        log(rounds(), "rounds", ({"n": np.int64([2])}, {"y": np.float32([2])}))
        lodeway("endpoint", "create", "rounds", "--model", "models:/rounds/1", "--timeout", "2s", url=running.url)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(score, running, "rounds", {"inputs": {"n": [ENDLESS]}}) for _ in range(2)]
            assert [call.result().status_code for call in calls] == [504, 504]
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
