"""What HTTP itself leaves open: bodies, content types, query strings, unknown routes, wrong verbs."""

import json

from ..calls import Call, delete, get, patch, post, put, raw

CREATE = "experiments/create"


def twice(value) -> bytes:
    return json.dumps(json.dumps(value)).encode()


BODIES = [
    raw("POST", CREATE, twice({"name": "<u>/double"}), experiment="experiment_id"),
    raw("POST", CREATE, json.dumps(twice({"name": "<u>/triple"}).decode()).encode()),
    raw("POST", CREATE, b""),
    raw("POST", CREATE, b"null"),
    raw("POST", CREATE, b"[]"),
    raw("POST", CREATE, b"5"),
    raw("POST", CREATE, b'"text"'),
    raw("POST", CREATE, b"{"),
    raw("POST", CREATE, b"name=x"),
    raw("POST", CREATE, b'{"name": "<u>/dup1", "name": "<u>/dup2"}', experiment="experiment_id"),
    raw("POST", CREATE, b'{"name": "<u>/trailing"} x'),
    raw("POST", CREATE, b'\xef\xbb\xbf{"name": "<u>/bom"}'),
    raw("POST", CREATE, b'{"name": "<u>/\xff"}'),
    raw("POST", CREATE, b'{"name": "<u>/lone \\ud800"}'),
    raw("POST", CREATE, b'{"name": "<u>/nul \\u0000"}'),
    raw("POST", CREATE, b'  {"name": "<u>/space"}  ', experiment="experiment_id"),
    raw("POST", CREATE, b'{"name": "<u>/charset"}', "application/json; charset=utf-8", experiment="experiment_id"),
    raw("POST", CREATE, b'{"name": "<u>/upper"}', "Application/JSON"),
    raw("POST", CREATE, b'{"name": "<u>/text"}', "text/plain"),
    raw("POST", CREATE, b'{"name": "<u>/form"}', "application/x-www-form-urlencoded"),
    raw("POST", CREATE, b'{"name": "<u>/vnd"}', "application/vnd.api+json"),
    raw("POST", CREATE, b'{"name": "<u>/none"}', None),
    Call("POST", CREATE, query={"name": "<u>/in query"}, body={}),
    Call("POST", CREATE, query={"name": "<u>/in query"}, body={"name": "<u>/in body"}, captures={"e": "experiment_id"}),
    raw("POST", CREATE, b'{"Name": "<u>/case"}'),
    raw("POST", CREATE, b'{"artifactLocation": "s3://x/y", "name": "<u>/camel"}', experiment="experiment_id"),
    raw("PATCH", "registered-models/update", b'{"name": "<u>-none", "description": "x"}', "text/plain"),
    raw("PATCH", "registered-models/update", b'{"name": "<u>-none", "description": "x"}', None),
    raw("DELETE", "registered-models/delete", b'{"name": "<u>-none"}', "text/plain"),
    raw("DELETE", "registered-models/delete", b'{"name": "<u>-none"}', None),
    Call("DELETE", "registered-models/delete", query={"name": "<u>-none"}),
    post("runs/create", {"experimentId": "0", "startTime": 5, "runName": "camel"}),
]

QUERIES = [
    get("experiments/get", [("experiment_id", "0"), ("experiment_id", "1")]),
    get("experiments/get", {"experiment_id": "0", "unknown": "x"}),
    get("experiments/get", {"experiment_id": " 0"}),
    get("experiments/get", {"experiment_id": "00"}),
    get("experiments/get", {"experiment_id": "+0"}),
    get("experiments/get?experiment_id=0&"),
    get("experiments/get?experiment_id=%30"),
    get("experiments/get?&&experiment_id=0"),
    get("experiments/get?experiment_id"),
    get("experiments/get?experiment_id=0;x=1"),
    get("experiments/get-by-name?experiment_name=a+b"),
    get("experiments/get-by-name?experiment_name=a%2Bb"),
    get("experiments/get-by-name?experiment_name=%zz"),
    get("experiments/get-by-name?experiment_name=%ff"),
    Call("GET", "experiments/get", body={"experiment_id": "0"}),
    Call("GET", "experiments/get", query={"experiment_id": "0"}, body={"experiment_id": "1"}),
    get("/ajax-api/2.0/mlflow/experiments/get", {"experiment_id": "0"}),
    *[
        get("logged-models/m-" + "0" * 32, {"allow_deleted": v})
        for v in ["true", "True", "TRUE", "false", "1", "yes", ""]
    ],
    get("registered-models/search", {"max_results": "5.0", "filter": "name = '<u>'"}),
    get("registered-models/search", {"max_results": "", "filter": "name = '<u>'"}),
    get("registered-models/search", {"max_results": " 5 ", "filter": "name = '<u>'"}),
    get("registered-models/search", {"max_results": "1e1", "filter": "name = '<u>'"}),
]

ROUTES = [
    get("nothing"),
    post("nothing", {}),
    get("experiments/nothing"),
    get("/api/1.0/mlflow/experiments/get", {"experiment_id": "0"}),
    get("/api/2.0/preview/mlflow/experiments/get", {"experiment_id": "0"}),
    get("/api/2.0/mlflow/experiments/get/", {"experiment_id": "0"}),
    get("/api/2.0/mlflow//experiments/get", {"experiment_id": "0"}),
    get("/API/2.0/mlflow/experiments/get", {"experiment_id": "0"}),
    get("/api/2.0/mlflow"),
    get("/api"),
    get("/nothing/at/all"),
    get("/health"),
    post("/health"),
    Call("HEAD", "/health"),
    get(CREATE),
    patch(CREATE, {"name": "<u>/verb"}),
    put("/api/2.0/mlflow/" + CREATE, b"{}"),
    delete(CREATE),
    post("experiments/get", {"experiment_id": "0"}),
    post("runs/get", {"run_id": "x"}),
    get("runs/search"),
    get("runs/create"),
    post("registered-models/delete", {"name": "x"}),
    get("registered-models/delete", {"name": "x"}),
    post("registered-models/update", {"name": "x"}),
    post("registered-models/search", {}),
    post("model-versions/search", {}),
    put("/api/2.0/mlflow/logged-models/m-x", b"{}"),
    post("metrics/get-history", {"run_id": "x", "metric_key": "m"}),
    Call("OPTIONS", CREATE),
    Call("HEAD", "experiments/get", query={"experiment_id": "0"}),
]

SCRIPTS = {"bodies": BODIES, "query strings": QUERIES, "routes and verbs": ROUTES}
