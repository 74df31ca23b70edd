"""Metric histories, one run and many."""

from ..calls import get, post

BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
INTERVAL = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"


def history(**query):
    return get("metrics/get-history", query)


def points(name, items):
    return post(
        "runs/log-batch",
        {"run_id": f"<{name}>", "metrics": [{"key": "m", "value": v, "timestamp": t, "step": s} for v, t, s in items]},
    )


HISTORY = [
    post("runs/create", {"experiment_id": "0", "start_time": 1, "run_name": "a"}, a="run.info.run_id"),
    post("runs/create", {"experiment_id": "0", "start_time": 2, "run_name": "b"}, b="run.info.run_id"),
    points("a", [(5, 30, 1), (4, 10, 2), (3, 10, 1), (3, 10, 1), (2, 10, 1), ("NaN", 40, 9), ("Infinity", 50, 9)]),
    points("a", [(3, 10, 1), (7, 60, -4)]),
    points("b", [(i / 10, 100 + i, i) for i in range(40)]),
    history(run_id="<a>", metric_key="m", max_results=100),
    history(run_uuid="<a>", metric_key="m", max_results=100),
    history(run_id="<a>", metric_key="none", max_results=100),
    history(run_id="0" * 32, metric_key="m", max_results=100),
    history(run_id="bad/id", metric_key="m", max_results=100),
    history(run_id="<a>", metric_key="bad*", max_results=100),
    history(metric_key="m", max_results=100),
    history(run_id="<a>", max_results=100),
    history(run_id="<a>", metric_key="", max_results=100),
    history(run_id="<a>", metric_key="m", max_results="x"),
    history(run_id="<a>", metric_key="m", max_results="0"),
    history(run_id="<a>", metric_key="m", max_results="-1"),
    history(run_id="<a>", metric_key="m", max_results="25001"),
    history(run_id="<a>", metric_key="m", page_token="rubbish", max_results=5),
    history(run_id="<a>", metric_key="m"),
    get("metrics/get-history", {"run_id": "<b>", "metric_key": "m", "max_results": 25}, token="next_page_token"),
    get("metrics/get-history", {"run_id": "<b>", "metric_key": "m", "max_results": 25, "page_token": "<token>"}),
    get("metrics/get-history", {"run_id": "<b>", "metric_key": "m", "max_results": 40}),
    get("runs/get", {"run_id": "<a>"}),
]


def bulk(*runs, **query):
    return get(BULK, [("run_id", r) for r in runs] + list(query.items()))


# Both runs in one reply are ordered by their ids, which differ between the servers.
BULK_CALLS = [
    *HISTORY[:5],
    bulk("<a>", metric_key="m"),
    bulk("<b>", metric_key="m", max_results=7),
    bulk("<b>", metric_key="m", max_results=0),
    bulk("<b>", metric_key="m", max_results=-1),
    bulk("<b>", metric_key="m", max_results="x"),
    bulk("<b>", metric_key="m", max_results=25001),
    bulk("<b>", metric_key="none"),
    bulk("0" * 32, metric_key="m"),
    bulk("<a>"),
    bulk(metric_key="m"),
    bulk(*["<a>"] * 101, metric_key="m"),
    get("/api/2.0/mlflow/metrics/get-history-bulk", {"run_id": "<a>", "metric_key": "m"}),
]


def interval(*runs, **query):
    return get(INTERVAL, [("run_ids", r) for r in runs] + list(query.items()))


INTERVAL_CALLS = [
    *HISTORY[:5],
    interval("<b>", metric_key="m"),
    interval("<b>", metric_key="m", max_results=5),
    interval("<b>", metric_key="m", max_results=1),
    interval("<b>", metric_key="m", max_results=7, start_step=3, end_step=30),
    interval("<b>", metric_key="m", start_step=3, end_step=3),
    interval("<b>", metric_key="m", start_step=30, end_step=3),
    interval("<b>", metric_key="m", start_step=3),
    interval("<b>", metric_key="m", end_step=3),
    interval("<b>", metric_key="m", start_step="x", end_step=3),
    interval("<b>", metric_key="m", start_step=100, end_step=200),
    interval("<a>", metric_key="m", max_results=3),
    interval("<a>", metric_key="m", start_step=-10, end_step=2),
    interval("<b>", metric_key="m", max_results=0),
    interval("<b>", metric_key="m", max_results=2501),
    interval("<b>", metric_key="m", max_results="x"),
    interval("<b>"),
    interval(metric_key="m"),
    interval("0" * 32, metric_key="m"),
    interval("<b>", metric_key="none"),
    interval(*["<a>"] * 101, metric_key="m"),
    get("metrics/get-history-bulk-interval", [("run_ids", "<b>"), ("metric_key", "m"), ("max_results", 4)]),
]

SCRIPTS = {"metric history": HISTORY, "metric history bulk": BULK_CALLS, "metric history interval": INTERVAL_CALLS}
