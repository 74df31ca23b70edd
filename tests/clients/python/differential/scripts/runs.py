"""Runs: their life, and what they log."""

from ..calls import get, post, raw


def run(**fields):
    return post("runs/get", fields)


LIFE = [
    post("experiments/create", {"name": "<u>/runs"}, e="experiment_id"),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1000, "user_id": "me", "run_name": "first"}, r="run.info.run_id"),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1000}, unnamed="run.info.run_id"),
    post("runs/create", {"experiment_id": "<e>"}, timeless="run.info.run_id"),
    post("runs/create", {"experiment_id": "<e>", "start_time": "2000", "run_name": "text time"}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 2000.0, "run_name": "float time"}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 2000.5, "run_name": "half"}),
    post("runs/create", {"experiment_id": "<e>", "start_time": "soon", "run_name": "x"}),
    post("runs/create", {"experiment_id": "<e>", "start_time": -5, "run_name": "before"}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 0, "run_name": "zero"}),
    post("runs/create", {"experiment_id": "<e>", "run_name": 5}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 5, "run_name": ""}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 5, "run_name": "  "}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 5, "run_name": "n" * 250}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 5, "run_name": "n", "user_id": "u" * 256}),
    post("runs/create", {"experiment_id": "987654"}),
    post("runs/create", {"experiment_id": "abc"}),
    post("runs/create", {"experiment_id": "0", "run_name": "in default", "start_time": 1}),
    post("runs/create", {"experiment_id": 0, "run_name": "in default by number", "start_time": 1}),
    post("runs/create", {"experiment_id": "", "run_name": "in default by nothing", "start_time": 1}),
    post(
        "runs/create",
        {
            "experiment_id": "<e>",
            "start_time": 1,
            "tags": [{"key": "mlflow.runName", "value": "by tag"}, {"key": "mlflow.user", "value": "you"}],
        },
        tagged="run.info.run_id",
    ),
    post(
        "runs/create",
        {"experiment_id": "<e>", "start_time": 1, "run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]},
    ),
    post(
        "runs/create",
        {"experiment_id": "<e>", "start_time": 1, "run_name": "a", "tags": [{"key": "mlflow.runName", "value": "a"}]},
    ),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1, "run_name": "a", "tags": [{"key": "", "value": "b"}]}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1, "run_name": "a", "tags": [{"key": "..", "value": "b"}]}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1, "run_name": "a", "tags": [{"key": "k"}]}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1, "run_name": "a", "tags": "k"}),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1, "run_name": "dup", "tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}),
    get("runs/get", {"run_id": "<r>"}),
    get("runs/get", {"run_uuid": "<r>"}),
    get("runs/get", {"run_id": "<unnamed>"}),
    get("runs/get", {"run_id": "0" * 32}),
    get("runs/get", {"run_id": "not/an/id"}),
    get("runs/get", {"run_id": ""}),
    get("runs/get"),
    post("runs/update", {"run_id": "<r>", "status": "FINISHED", "end_time": 5000}),
    get("runs/get", {"run_id": "<r>"}),
    post("runs/update", {"run_id": "<r>", "status": 4}),
    post("runs/update", {"run_id": "<r>", "status": "4"}),
    post("runs/update", {"run_id": "<r>", "status": "finished"}),
    post("runs/update", {"run_id": "<r>", "status": "DONE"}),
    post("runs/update", {"run_id": "<r>", "status": 77}),
    post("runs/update", {"run_id": "<r>", "status": "SCHEDULED"}),
    post("runs/update", {"run_id": "<r>", "run_name": "second"}),
    post("runs/update", {"run_id": "<r>", "run_name": ""}),
    post("runs/update", {"run_id": "<r>", "run_name": 5}),
    post("runs/update", {"run_id": "<r>", "end_time": "6000"}),
    post("runs/update", {"run_id": "<r>", "end_time": "late"}),
    post("runs/update", {"run_id": "<r>", "status": "RUNNING"}),
    post("runs/update", {"run_uuid": "<r>", "status": "KILLED"}),
    post("runs/update", {"run_id": "<r>"}),
    post("runs/update", {"run_id": "0" * 32, "status": "FINISHED"}),
    post("runs/update", {"status": "FINISHED"}),
    get("runs/get", {"run_id": "<r>"}),
    post("runs/set-tag", {"run_id": "<r>", "key": "mlflow.runName", "value": "third"}),
    post("runs/set-tag", {"run_id": "<r>", "key": "mlflow.runName", "value": ""}),
    get("runs/get", {"run_id": "<r>"}),
    post("runs/delete", {"run_id": "<r>"}),
    post("runs/delete", {"run_id": "<r>"}),
    get("runs/get", {"run_id": "<r>"}),
    post("runs/update", {"run_id": "<r>", "status": "FINISHED"}),
    post("runs/log-metric", {"run_id": "<r>", "key": "m", "value": 1, "timestamp": 1}),
    post("runs/log-parameter", {"run_id": "<r>", "key": "p", "value": "1"}),
    post("runs/log-batch", {"run_id": "<r>", "params": [{"key": "p", "value": "1"}]}),
    post("runs/log-batch", {"run_id": "<r>"}),
    post("runs/set-tag", {"run_id": "<r>", "key": "t", "value": "1"}),
    post("runs/delete-tag", {"run_id": "<r>", "key": "t"}),
    post("runs/log-inputs", {"run_id": "<r>", "datasets": []}),
    post("runs/restore", {"run_id": "<r>"}),
    post("runs/restore", {"run_id": "<r>"}),
    post("runs/delete", {"run_id": "0" * 32}),
    post("runs/delete", {}),
    post("runs/restore", {"run_id": "0" * 32}),
    post("runs/restore", {}),
    post("runs/update", {"run_id": "<r>", "status": "FINISHED"}),
    post("experiments/delete", {"experiment_id": "<e>"}),
    get("runs/get", {"run_id": "<r>"}),
    post("experiments/restore", {"experiment_id": "<e>"}),
    get("runs/get", {"run_id": "<r>"}),
]


def metric(**fields):
    return post("runs/log-metric", {"run_id": "<r>", **fields})


def param(key, value):
    return post("runs/log-parameter", {"run_id": "<r>", "key": key, "value": value})


def tag(key, value):
    return post("runs/set-tag", {"run_id": "<r>", "key": key, "value": value})


NAMES = ["a b", "a/b", "a.b", "a:b", "a-b", "ü", "模型", ".", "..", "/a", "a//b", "a/../b", "a/", "./a", "a*b", "a\\b", "a\tb", "a%b", "k" * 250, "k" * 251]

# Where only one of the two keeps what it is sent, this run gets it.
OTHER = post("runs/create", {"experiment_id": "0", "start_time": 1, "run_name": "other"}, x="run.info.run_id")

LOGGING = [
    OTHER,
    post("runs/create", {"experiment_id": "0", "start_time": 1, "run_name": "logging"}, r="run.info.run_id"),
    metric(key="m", value=1.5, timestamp=10),
    metric(key="m", value=2, timestamp=20, step=3),
    metric(key="m", value=0.5, timestamp=30, step=2),
    metric(key="m", value="2.5", timestamp="40", step="3"),
    metric(key="nan", value="NaN", timestamp=1),
    metric(key="inf", value="Infinity", timestamp=1),
    metric(key="ninf", value="-Infinity", timestamp=1),
    metric(key="inf2", value="inf", timestamp=1),
    post("runs/log-metric", {"run_id": "<x>", "key": "nan", "value": "nan", "timestamp": 1}),
    raw("POST", "runs/log-metric", b'{"run_id":"<x>","key":"bare","value":NaN,"timestamp":1}'),
    raw("POST", "runs/log-metric", b'{"run_id":"<x>","key":"bareinf","value":Infinity,"timestamp":1}'),
    raw("POST", "runs/log-metric", b'{"run_id":"<x>","key":"huge","value":1e999,"timestamp":1}'),
    metric(key="neg0", value=-0.0, timestamp=1),
    metric(key="tiny", value=5e-324, timestamp=1),
    metric(key="big", value=1.7976931348623157e308, timestamp=1),
    metric(key="negstep", value=1, timestamp=1, step=-7),
    metric(key="negtime", value=1, timestamp=-1),
    metric(key="bigstep", value=1, timestamp=1, step=2**62),
    post("runs/log-metric", {"run_id": "<x>", "key": "big", "value": 1, "timestamp": 1, "step": 2**63}),
    metric(key="m", timestamp=10),
    metric(key="m", value=1),
    metric(value=1, timestamp=10),
    metric(key="", value=1, timestamp=10),
    metric(key=5, value=1, timestamp=10),
    metric(key="m", value="x", timestamp=10),
    metric(key="m", value=None, timestamp=10),
    post("runs/log-metric", {"run_id": "<x>", "key": "m", "value": True, "timestamp": 10}),
    metric(key="m", value=[1], timestamp=10),
    metric(key="m", value=1, timestamp="x"),
    post("runs/log-metric", {"run_id": "<x>", "key": "m", "value": 1, "timestamp": 1.5}),
    metric(key="m", value=1, timestamp=10.0),
    metric(key="m", value=1, timestamp=10, step="x"),
    post("runs/log-metric", {"run_id": "<x>", "key": "m", "value": 1, "timestamp": 10, "step": 1.5}),
    metric(key="m", value=1, timestamp=10, step=None),
    post("runs/log-metric", {"run_id": "<x>", "key": "m", "value": 1, "timestamp": 10, "step": True}),
    *[metric(key=name, value=1, timestamp=1) for name in NAMES],
    post("runs/log-metric", {"run_id": "0" * 32, "key": "m", "value": 1, "timestamp": 1}),
    post("runs/log-metric", {"run_id": "bad/id", "key": "m", "value": 1, "timestamp": 1}),
    post("runs/log-metric", {"key": "m", "value": 1, "timestamp": 1}),
    post("runs/log-metric", {"run_uuid": "<r>", "key": "uuid", "value": 1, "timestamp": 1}),
    param("p", "1"),
    param("p", "1"),
    param("p", "2"),
    param("empty", ""),
    post("runs/log-parameter", {"run_id": "<r>", "key": "none"}),
    post("runs/log-parameter", {"run_id": "<r>", "value": "x"}),
    post("runs/log-parameter", {"key": "x", "value": "x"}),
    param("", "x"),
    param("num", 5),
    param("list", ["x"]),
    param("null", None),
    param("long", "v" * 6001),
    param("long", "v" * 6002),
    param("max", "v" * 6000),
    param("wide", "ü模🚀"),
    *[param(name, "x") for name in NAMES],
    tag("t", "1"),
    tag("t", "2"),
    tag("empty", ""),
    post("runs/set-tag", {"run_id": "<r>", "key": "none"}),
    post("runs/set-tag", {"run_id": "<r>", "value": "x"}),
    post("runs/set-tag", {"key": "x", "value": "x"}),
    tag("", "x"),
    tag("num", 5),
    tag("long", "v" * 8001),
    tag("max", "v" * 8000),
    post("runs/set-tag", {"run_id": "<x>", "key": "nul", "value": "a\x00b"}),
    *[tag(name, "x") for name in NAMES],
    post("runs/delete-tag", {"run_id": "<r>", "key": "t"}),
    post("runs/delete-tag", {"run_id": "<r>", "key": "t"}),
    post("runs/delete-tag", {"run_id": "<r>"}),
    post("runs/delete-tag", {"key": "t"}),
    post("runs/delete-tag", {"run_id": "0" * 32, "key": "t"}),
    get("runs/get", {"run_id": "<r>"}),
]


def batch(**fields):
    return post("runs/log-batch", {"run_id": "<r>", **fields})


def misfit(**fields):
    return post("runs/log-batch", {"run_id": "<x>", **fields})


def point(key, value, timestamp=1, **more):
    return {"key": key, "value": value, "timestamp": timestamp, **more}


def kv(key, value):
    return {"key": key, "value": value}


BATCH = [
    OTHER,
    post("runs/create", {"experiment_id": "0", "start_time": 1, "run_name": "batch"}, r="run.info.run_id"),
    batch(),
    batch(metrics=[], params=[], tags=[]),
    batch(metrics=None),
    batch(
        metrics=[point("m", 1, 1, step=1), point("m", 2, 2, step=2), point("n", "NaN")],
        params=[kv("p", "1"), kv("q", "")],
        tags=[kv("t", "1"), kv("t", "2")],
    ),
    get("runs/get", {"run_id": "<r>"}),
    batch(metrics=[point("m", 1, 1, step=1), point("m", 1, 1, step=1)]),
    batch(params=[kv("p", "1")]),
    batch(params=[kv("p", "2")]),
    batch(params=[kv("new", "1"), kv("p", "2")]),
    batch(params=[kv("d", "1"), kv("d", "1")]),
    batch(params=[kv("d", "1"), kv("d", "2")]),
    batch(params=[kv("ok", "1")], metrics=[point("bad*", 1)]),
    batch(metrics=[point("ok", 1), point("", 1)]),
    batch(metrics=[{"key": "ok", "value": 1}]),
    batch(metrics=[{"key": "ok", "timestamp": 1}]),
    batch(metrics=[{"value": 1, "timestamp": 1}]),
    misfit(metrics=[point("ok", "x")]),
    misfit(metrics=[point("ok", 1, "x")]),
    batch(metrics=[point("ok", 1, "5", step="6")]),
    batch(metrics={"key": "x"}),
    batch(metrics="x"),
    misfit(metrics=[5]),
    misfit(metrics=[None]),
    batch(params=[{"key": "a"}]),
    batch(params=[{"value": "a"}]),
    misfit(params=[kv("num", 5)]),
    batch(params=[kv("..", "5")]),
    batch(params=[kv("long", "v" * 7000)]),
    batch(tags=[{"key": "a"}]),
    batch(tags=[{"value": "a"}]),
    misfit(tags=[kv("num", 5)]),
    batch(tags=[kv("a//b", "5")]),
    batch(tags=[kv("long", "v" * 9000)]),
    batch(tags=[kv("mlflow.runName", "renamed")]),
    batch(params="x"),
    batch(tags=7),
    batch(metrics=[point(f"k{i}", i) for i in range(1001)]),
    batch(params=[kv(f"k{i}", "x") for i in range(101)]),
    batch(tags=[kv(f"k{i}", "x") for i in range(101)]),
    batch(metrics=[point(f"k{i}", i) for i in range(950)], params=[kv(f"k{i}", "x") for i in range(51)]),
    batch(params=[kv(f"k{i}", "x") for i in range(100)]),
    post("runs/log-batch", {"run_id": "0" * 32, "params": [kv("p", "1")]}),
    post("runs/log-batch", {"run_id": "0" * 32}),
    post("runs/log-batch", {"run_id": ""}),
    post("runs/log-batch", {"run_id": 5}),
    post("runs/log-batch", {}),
    post("runs/log-batch", {"run_uuid": "<r>"}),
    batch(nobody=1, metrics=[point("extra", 1, unknown=5)]),
    get("runs/get", {"run_id": "<r>"}),
]


def data(name="d", digest="1", **more):
    return {"name": name, "digest": digest, "source_type": "local", "source": "/x", **more}


def misfits(*datasets, **more):
    return post("runs/log-inputs", {"run_id": "<x>", "datasets": list(datasets), **more})


def inputs(*datasets, **more):
    return post("runs/log-inputs", {"run_id": "<r>", "datasets": list(datasets), **more})


INPUTS = [
    OTHER,
    post("experiments/create", {"name": "<u>/inputs"}, e="experiment_id"),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1, "run_name": "inputs"}, r="run.info.run_id"),
    inputs(),
    post("runs/log-inputs", {"run_id": "<r>"}),
    post("runs/log-inputs", {"datasets": []}),
    inputs({"dataset": data(), "tags": [kv("mlflow.data.context", "train")]}),
    inputs({"dataset": data(), "tags": [kv("mlflow.data.context", "test")]}),
    inputs({"dataset": data(digest="2", schema="{}", profile='{"rows": 3}')}),
    inputs({"dataset": data("e"), "tags": []}, {"dataset": data("f")}),
    misfits({"dataset": data("")}),
    misfits({"dataset": {"name": "x"}}),
    misfits({"dataset": {"name": "x", "digest": "1"}}),
    misfits({"dataset": {"name": "x", "digest": "1", "source_type": "local"}}),
    misfits({"tags": []}),
    inputs({"dataset": data("n" * 501)}),
    inputs({"dataset": data("x", "d" * 37)}),
    inputs({"dataset": data("x", schema="s" * 1_048_576)}),
    inputs({"dataset": data("x"), "tags": [kv("k" * 256, "v")]}),
    inputs({"dataset": data("x"), "tags": [kv("k", "v" * 501)]}),
    inputs({"dataset": data("x"), "tags": [{"key": "k"}]}),
    misfits({"dataset": data("x"), "tags": [{"value": "k"}]}),
    misfits({"dataset": "x"}),
    misfits("x"),
    post("runs/log-inputs", {"run_id": "<r>", "datasets": "x"}),
    post("runs/log-inputs", {"run_id": "0" * 32, "datasets": [{"dataset": data()}]}),
    get("runs/get", {"run_id": "<r>"}),
    post("logged-models", {"experiment_id": "<e>", "name": "in", "source_run_id": "<r>"}, m="model.info.model_id"),
    inputs(models=[{"model_id": "<m>"}]),
    inputs(models=[{"model_id": "<m>"}]),
    misfits(models=[{}]),
    inputs(models="x"),
    post("runs/outputs", {"run_id": "<r>", "models": [{"model_id": "<m>", "step": 3}]}),
    post("runs/outputs", {"run_id": "<r>", "models": []}),
    post("runs/outputs", {"run_id": "<r>"}),
    post("runs/outputs", {"models": []}),
    post("runs/outputs", {"run_id": "<r>", "models": "x"}),
    post("runs/outputs", {"run_id": "0" * 32, "models": [{"model_id": "<m>", "step": 0}]}),
    get("runs/get", {"run_id": "<r>"}),
    post("/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": ["<e>"]}),
    post("/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": []}),
    post("/ajax-api/2.0/mlflow/experiments/search-datasets", {}),
    post("/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": [str(i) for i in range(21)]}),
    post("/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": "x"}),
    post("/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": ["987654"]}),
    post("/api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": ["<e>"]}),
]

MODEL = '{"artifact_path": "m", "flavors": {}, "utc_time_created": "x", "run_id": "y", "model_uuid": "z"}'
LOG_MODEL = [
    post("runs/create", {"experiment_id": "0", "start_time": 1, "run_name": "history"}, r="run.info.run_id"),
    post("runs/log-model", {"run_id": "<r>", "model_json": MODEL}),
    post("runs/log-model", {"run_id": "<r>", "model_json": MODEL}),
    post("runs/log-model", {"run_id": "<r>", "model_json": "{}"}),
    post("runs/log-model", {"run_id": "<r>", "model_json": "no json"}),
    post("runs/log-model", {"run_id": "<r>"}),
    post("runs/log-model", {"model_json": MODEL}),
    post("runs/log-model", {"run_id": "0" * 32, "model_json": MODEL}),
    get("runs/get", {"run_id": "<r>"}),
]

SCRIPTS = {"runs": LIFE, "run logging": LOGGING, "run batches": BATCH, "run inputs": INPUTS, "run models": LOG_MODEL}
