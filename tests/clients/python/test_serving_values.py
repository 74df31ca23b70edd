"""Values that few models give and take: masks, types of pandas, infinities, moments, bytes that are missing."""

import json

import grpc
import numpy as np
import pandas as pd
import pytest
from platform_process import Platform
from test_serving import make, runtime_env, score
from typed_service import caller

COLUMNS = ("boolean", "integer", "long", "float", "string", "binary", "datetime", "double")


@pytest.fixture(scope="module")
def host():
    with Platform(env=runtime_env()) as running:
        yield running


@pytest.fixture(scope="module")
def stub(host, stubs):
    from lodeway.gateway.v1 import endpoint_service_pb2_grpc

    with grpc.insecure_channel(host.target) as channel:
        yield endpoint_service_pb2_grpc.EndpointServiceStub(channel)


def given():
    """Answers by name."""
    masked = np.ma.masked_array
    columns = {
        "boolean": pd.array([True, None], dtype="boolean"),
        "whole": pd.array([2**60 + 1, None], dtype="Int64"),
        "arrow-boolean": pd.array([True, None], dtype="bool[pyarrow]"),
        "category": pd.Categorical(["a", None]),
        "moment": pd.to_datetime(["2024-01-01T10:00:00.25", None]),
    }
    return {
        "masked": masked([1.5, 2.5], [False, True]),
        "masked-whole": masked([1, 2], [False, True]),
        "masked-dict": {"y": masked([[1.5, 2.5]], [[False, True]])},
        **{f"frame-{name}": pd.DataFrame({"ok": column}) for name, column in columns.items()},
        **{f"series-{name}": pd.Series(column, name="ok") for name, column in columns.items()},
    }


@pytest.fixture(scope="module")
def endpoints(host, stub):
    """Registers the models, each behind an endpoint of its name; gives what MLflow's own server answers to a document."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import scoring_server
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array, Map
    from skl2onnx import to_onnx
    from sklearn.linear_model import LinearRegression

    class Named(mlflow.pyfunc.PythonModel):
        def __init__(self, answers):
            self.answers = answers

        def predict(self, context, model_input, params=None):
            return self.answers[str(model_input[0])]

    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input

    class Seen(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            rows = model_input.to_dict(orient="records")
            return [{"row": int(row["a"]), "seen": [f"{name}={row[name]!r}" for name in sorted(row)]} for row in rows]

    class Lengths(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [len(text) for text in model_input["text"]]

    mlflow.set_tracking_uri(host.url)
    mlflow.set_registry_uri(host.url)
    mlflow.set_experiment("values")
    typed = Schema([ColSpec(DataType[name], f"c_{name}") for name in COLUMNS])
    seen = Schema([ColSpec(DataType.long, "row"), ColSpec(Array(DataType.string), "seen")])
    flat = [ColSpec(DataType.long, "a"), ColSpec(DataType.binary, "b", required=False)]
    weights = ColSpec(Map(DataType.double), "weights", required=False)
    texts = Schema([ColSpec(DataType.string, "text"), ColSpec(DataType.datetime, "at", required=False)])
    models = {
        "named": (Named(given()), None),
        "echo": (Echo(), ModelSignature(typed, typed)),
        "flat": (Seen(), ModelSignature(Schema(flat), seen)),
        "nested": (Seen(), ModelSignature(Schema([*flat, weights]), seen)),
        "lengths": (Lengths(), ModelSignature(texts, Schema([ColSpec(DataType.long, "length")]))),
    }
    for name, (model, signature) in models.items():
        with mlflow.start_run():
            mlflow.pyfunc.log_model(name="model", python_model=model, signature=signature, registered_model_name=name)
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    with mlflow.start_run():
        graph = to_onnx(LinearRegression().fit(x, x.sum(axis=1)), x[:1])
        mlflow.onnx.log_model(graph, name="model", registered_model_name="graph")
    for name in (*models, "graph"):
        make(stub, name, (f"models:/{name}/1", 1))
    loaded = {name: mlflow.pyfunc.load_model(f"models:/{name}/1") for name in ("named", "graph")}

    def by_mlflow(name, document):
        reply = scoring_server.invocations(json.dumps(document), "application/json", loaded[name], None)
        # NaN is null in answers of ours
        return json.loads(reply.response, parse_constant=lambda _: None)

    return by_mlflow


@pytest.fixture(scope="module")
def typed(host, endpoints):
    with grpc.insecure_channel(host.target) as channel:
        yield caller(channel)


@pytest.mark.parametrize("name", sorted(given()))
def test_answers_of_rare_types_are_those_of_mlflow(host, endpoints, name):
    document = {"inputs": [name]}
    reply = score(host, "named", json.dumps(document))
    assert reply.status_code == 200, reply.text
    assert reply.json() == endpoints("named", document)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("text\n", "text/csv"),
        ('{"dataframe_split": {"columns": ["text"], "data": []}}', "application/json"),
        ('{"inputs": {"text": []}}', "application/json"),
    ],
)
def test_a_table_of_texts_without_rows_is_one(host, endpoints, body, content_type):
    reply = score(host, "lengths", body, content_type)
    assert (reply.status_code, reply.json()) == (200, {"predictions": []}), reply.text


def test_a_long_refusal_keeps_the_cause_at_its_end(host, endpoints):
    # MLflow's own check repeats the input and the schema before it says what is wrong
    rows = [{"text": f"{'some text ' * 20}{n}", "at": "2020-01-01T00:00:00Z"} for n in range(5)]
    reply = score(host, "lengths", json.dumps({"dataframe_records": rows}))
    assert reply.status_code == 400 and "tz_localize" in reply.text, reply.text


@pytest.mark.parametrize("key", ["inputs", "instances"])
def test_the_only_output_of_a_graph_has_its_name(host, endpoints, key):
    rows = [[1.0, 2.0], [0.5, 4.0]]
    for document in ({key: rows}, {"dataframe_split": {"columns": ["a", "b"], "data": rows}}):
        reply = score(host, "graph", json.dumps(document))
        assert reply.status_code == 200, reply.text
        got, want = reply.json()["predictions"], endpoints("graph", document)["predictions"]
        if isinstance(want, dict):
            assert list(got) == list(want) == ["variable"]
            assert np.allclose(got["variable"], want["variable"], atol=1e-6)
        else:
            assert [list(row) for row in got] == [["variable"]] * 2


def values(**changed):
    """A row of the model that gives back what it gets."""
    row = {
        "boolean": True,
        "integer": -7,
        "long": str(2**60 + 1),
        "float": "-Infinity",
        "string": "größer",
        "binary": "AP8=",
        "datetime": "2024-02-29T11:30:00.500Z",
        "double": "Infinity",
    }
    return {f"c_{name}": value for name, value in (row | changed).items()}


def test_typed_services_keep_infinities_beside_moments_and_bytes(typed):
    assert typed("echo", "Predict", values()) == values()
    rows = [values(), values(float="NaN", double="-Infinity", binary="YQ==")]
    assert typed("echo", "PredictBatch", {"rows": rows})["rows"] == rows


def test_a_frame_is_answered_by_a_tensor_a_column(host, endpoints):
    import tritonclient.grpc as triton

    sent = {
        "boolean": ("BOOL", np.array([True, False])),
        "integer": ("INT32", np.array([1, -7], dtype=np.int32)),
        "long": ("INT64", np.array([2**60 + 1, 0])),
        "float": ("FP32", np.array([-np.inf, np.nan], dtype=np.float32)),
        "string": ("BYTES", np.array(["a", "größer"], dtype=object)),
        "binary": ("BYTES", np.array([b"\x00\xff", b"a"], dtype=object)),
        "datetime": ("BYTES", np.array(["2024-01-01T10:00:00.250000", "2024-01-02T00:00:00"], dtype=object)),
        "double": ("FP64", np.array([np.inf, 0.1])),
    }
    inputs = []
    for name, (datatype, array) in sent.items():
        inputs.append(triton.InferInput(f"c_{name}", [2], datatype))
        inputs[-1].set_data_from_numpy(array)
    client = triton.InferenceServerClient(host.target)
    try:
        answer = client.infer("echo", inputs)
    finally:
        client.close()
    assert [output.name for output in answer.get_response().outputs] == [f"c_{name}" for name in COLUMNS]
    for name, (datatype, array) in sent.items():
        got = answer.as_numpy(f"c_{name}")
        if datatype == "BYTES":
            array = np.array([text if isinstance(text, bytes) else text.encode() for text in array], dtype=object)
        assert got.dtype == array.dtype and np.array_equal(got, array, equal_nan=datatype.startswith("FP")), name


def test_bytes_that_some_rows_leave_out_are_missing_there(typed):
    rows = [{"a": "1"}, {"a": "2", "b": "AP8="}]
    seen = [["a=1", "b=None"], ["a=2", "b=b'\\x00\\xff'"]]
    told = typed("flat", "PredictBatch", {"rows": rows})["rows"]
    assert told == [{"row": str(at + 1), "seen": seen[at]} for at in range(2)]
    rows = [row | {"weights": {"k": 0.5}} for row in rows]
    told = typed("nested", "PredictBatch", {"rows": rows})["rows"]
    assert [row["seen"][:2] for row in told] == seen
    assert all(row["seen"][2].startswith("weights={'k': ") for row in told)
    assert typed("flat", "Predict", {"a": "1"}) == {"row": "1", "seen": seen[0]}


def test_floats_that_json_does_not_hold_are_refused_by_what_they_are(typed):
    for value, why in (("NaN", "is NaN"), ("Infinity", "is infinite")):
        with pytest.raises(grpc.RpcError) as refused:
            typed("nested", "Predict", {"a": "1", "weights": {"k": value}})
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert why in refused.value.details(), refused.value.details()
