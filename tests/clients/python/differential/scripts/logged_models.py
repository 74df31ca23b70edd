"""Logged models."""

from ..calls import delete, get, patch, post

SETUP = [
    post("experiments/create", {"name": "<u>/models"}, e="experiment_id"),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1, "run_name": "r"}, r="run.info.run_id"),
]


def create(**fields):
    return {"experiment_id": "<e>", **fields}


LIFE = [
    *SETUP,
    post(
        "logged-models",
        create(
            name="first",
            model_type="Agent",
            source_run_id="<r>",
            params=[{"key": "p", "value": "1"}],
            tags=[{"key": "t", "value": "1"}],
        ),
        m="model.info.model_id",
    ),
    post("logged-models", create(name="first"), again="model.info.model_id"),
    post("logged-models", create(), unnamed="model.info.model_id"),
    post("logged-models", create(name="")),
    *[post("logged-models", create(name=n)) for n in ["a/b", "a:b", "a.b", "a%b", "a'b", 'a"b', "a b", "ü", "n" * 501]],
    post("logged-models", create(name=5)),
    post("logged-models", {"name": "x"}),
    post("logged-models", {"experiment_id": "987654", "name": "x"}),
    post("logged-models", {"experiment_id": "abc", "name": "x"}),
    post("logged-models", create(name="x", source_run_id="0" * 32)),
    post("logged-models", create(name="x", params="x")),
    post("logged-models", create(name="x", params=[{"key": "p" * 251, "value": "1"}])),
    post("logged-models", create(name="x", params=[{"key": "p", "value": "v" * 6001}])),
    post("logged-models", create(name="x", params=[{"key": "p"}])),
    post("logged-models", create(name="x", tags=[{"key": "t"}])),
    post("logged-models", create(name="x", tags=[{"key": "..", "value": "1"}])),
    get("logged-models/<m>"),
    get("logged-models/m-" + "0" * 32),
    get("logged-models/nothing"),
    patch("logged-models/<m>", {"model_id": "<m>", "status": "LOGGED_MODEL_READY"}),
    patch("logged-models/<again>", {"model_id": "<again>", "status": 3}),
    patch("logged-models/<unnamed>", {"model_id": "<unnamed>", "status": "READY"}),
    patch("logged-models/<m>", {"model_id": "<m>"}),
    patch("logged-models/m-" + "0" * 32, {"model_id": "m-" + "0" * 32, "status": "LOGGED_MODEL_READY"}),
    post("logged-models/<m>/params", {"model_id": "<m>", "params": [{"key": "q", "value": "2"}]}),
    post("logged-models/<m>/params", {"model_id": "<m>", "params": [{"key": "q", "value": "2"}]}),
    post("logged-models/<m>/params", {"model_id": "<m>", "params": [{"key": "q", "value": "3"}]}),
    post("logged-models/<m>/params", {"model_id": "<m>", "params": []}),
    post("logged-models/<m>/params", {"model_id": "<m>"}),
    post("logged-models/<m>/params", {"params": [{"key": "q", "value": "2"}]}),
    post("logged-models/<m>/params", {"model_id": "<m>", "params": "x"}),
    post("logged-models/m-" + "0" * 32 + "/params", {"model_id": "m-" + "0" * 32, "params": [{"key": "q", "value": "2"}]}),
    patch("logged-models/<m>/tags", {"tags": [{"key": "t", "value": "2"}, {"key": "v w", "value": "3"}]}),
    patch("logged-models/<m>/tags", {"tags": []}),
    patch("logged-models/<unnamed>/tags", {"tags": [{"key": "..", "value": "2"}]}),
    patch("logged-models/<unnamed>/tags", {"tags": [{"value": "2"}]}),
    patch("logged-models/m-" + "0" * 32 + "/tags", {"tags": [{"key": "t", "value": "2"}]}),
    get("logged-models/<m>"),
    delete("logged-models/<m>/tags/t", {"model_id": "<m>", "tag_key": "t"}),
    delete("logged-models/<m>/tags/t"),
    delete("logged-models/<m>/tags/v%20w"),
    delete("logged-models/m-" + "0" * 32 + "/tags/t"),
    post("runs/log-metric", {"run_id": "<r>", "key": "acc", "value": 0.5, "timestamp": 1, "step": 1, "model_id": "<m>"}),
    post(
        "runs/log-batch",
        {
            "run_id": "<r>",
            "metrics": [
                {
                    "key": "acc",
                    "value": 0.7,
                    "timestamp": 2,
                    "step": 2,
                    "model_id": "<m>",
                    "dataset_name": "d",
                    "dataset_digest": "1",
                }
            ],
        },
    ),
    get("logged-models/<m>"),
    get("runs/get", {"run_id": "<r>"}),
    get("logged-models/<m>/artifacts/directories", {"artifact_directory_path": ""}),
    get("logged-models/<m>/artifacts/directories"),
    get("logged-models/<m>/artifacts/directories", {"artifact_directory_path": "../x"}),
    get("/ajax-api/2.0/mlflow/logged-models/<m>/artifacts/files", {"artifact_file_path": "none"}),
    get("/ajax-api/2.0/mlflow/logged-models/<m>/artifacts/files"),
    delete("logged-models/<m>"),
    get("logged-models/<m>"),
    get("logged-models/<m>", {"allow_deleted": "true"}),
    get("logged-models/<m>", {"allow_deleted": "false"}),
    delete("logged-models/<m>"),
    delete("logged-models/m-" + "0" * 32),
    patch("logged-models/<m>/tags", {"tags": [{"key": "t", "value": "2"}]}),
]


def search(filter=None, ids=("<e>",), **more):
    body = {"experiment_ids": list(ids), **more}
    return post("logged-models/search", body if filter is None else {**body, "filter": filter})


BY_NAME = [{"field_name": "name", "ascending": True}]


def model(i, name, kind, metrics, params, tags):
    return [
        post(
            "logged-models",
            create(
                name=name,
                model_type=kind,
                source_run_id="<r>",
                params=[{"key": k, "value": v} for k, v in params.items()],
                tags=[{"key": k, "value": v} for k, v in tags.items()],
            ),
            **{f"m{i}": "model.info.model_id"},
        ),
        post(
            "runs/log-batch",
            {
                "run_id": "<r>",
                "metrics": [
                    {
                        "key": k,
                        "value": v,
                        "timestamp": 1,
                        "step": s,
                        "model_id": f"<m{i}>",
                        **({"dataset_name": d, "dataset_digest": "1"} if d else {}),
                    }
                    for k, v, s, d in metrics
                ],
            },
        ),
    ]


SEARCH = [
    *SETUP,
    *model(0, "ann", "A", [("acc", 0.1, 1, "d"), ("acc", 0.9, 2, "d")], {"lr": "1"}, {"team": "red"}),
    *model(1, "Bob", "B", [("acc", 0.5, 1, None)], {"lr": "2"}, {"team": "Blue"}),
    *model(2, "cy", "A", [("loss", 3, 1, "e")], {}, {"team": "red"}),
    patch("logged-models/<m0>", {"model_id": "<m0>", "status": "LOGGED_MODEL_READY"}),
    search(),
    search(order_by=BY_NAME),
    search(order_by=[{"field_name": "name", "ascending": False}]),
    search(order_by=[{"field_name": "name"}]),
    search(order_by=[{"field_name": "creation_timestamp", "ascending": True}]),
    search(order_by=[{"field_name": "creation_time", "ascending": False}]),
    search(order_by=[{"field_name": "metrics.acc", "ascending": True}]),
    search(order_by=[{"field_name": "metrics.acc", "ascending": False}]),
    search(order_by=[{"field_name": "metrics.acc", "dataset_name": "d"}]),
    search(order_by=[{"field_name": "metrics.acc", "dataset_name": "d", "dataset_digest": "1"}]),
    search(order_by=[{"field_name": "metrics.acc", "dataset_digest": "1"}]),
    search(order_by=[{"field_name": "nothing"}]),
    search(order_by=[{"field_name": "params.lr"}]),
    search(order_by=[{}]),
    search(order_by="name"),
    *[
        search(f, order_by=BY_NAME)
        for f in [
            "name = 'ann'",
            "name != 'ann'",
            "attributes.name = 'ann'",
            "name LIKE '%n'",
            "name ILIKE 'BOB'",
            "name IN ('ann', 'cy')",
            "name NOT IN ('ann', 'cy')",
            "model_id = '<m0>'",
            "model_type = 'A'",
            "status = 'READY'",
            "status = 'LOGGED_MODEL_READY'",
            "status = 'PENDING'",
            "status != 'READY'",
            "source_run_id = '<r>'",
            "creation_timestamp > 5",
            "creation_time > 5",
            "last_updated_timestamp > 5",
            "creation_timestamp = 'x'",
            "metrics.acc > 0.4",
            "metrics.acc < 0.4",
            "metrics.loss = 3",
            "metrics.acc = 'x'",
            "metric.acc > 0.4",
            "params.lr = '1'",
            "params.lr LIKE '%'",
            "params.lr = 1",
            "tags.team = 'red'",
            "tags.team != 'red'",
            "tags.team ILIKE 'blue'",
            "tag.team = 'red'",
            "tags.team = 'red' AND model_type = 'A' AND metrics.acc > 0",
            "name = 'ann' OR name = 'cy'",
            "nothing = 'x'",
            "nothing.x = 'x'",
            "name > 'a'",
            "name =",
            "",
        ]
    ],
    search(datasets=[{"dataset_name": "d"}], order_by=BY_NAME),
    search(datasets=[{"dataset_name": "d", "dataset_digest": "1"}], order_by=BY_NAME),
    search(datasets=[{"dataset_name": "none"}], order_by=BY_NAME),
    search("metrics.acc > 0", datasets=[{"dataset_name": "d"}], order_by=BY_NAME),
    search("metrics.loss > 0", datasets=[{"dataset_name": "d"}], order_by=BY_NAME),
    search(datasets=[{}], order_by=BY_NAME),
    search(ids=[]),
    search(ids=["987654"]),
    post("logged-models/search", {}),
    search(max_results=0),
    search(max_results=-1),
    search(max_results=51),
    search(max_results="x"),
    post("logged-models/search", {"experiment_ids": ["<e>"], "max_results": 2, "order_by": BY_NAME}, token="next_page_token"),
    post("logged-models/search", {"experiment_ids": ["<e>"], "max_results": 2, "order_by": BY_NAME, "page_token": "<token>"}),
    post("logged-models/search", {"experiment_ids": ["<e>"], "max_results": 2, "page_token": "<token>"}),
    search(max_results=3, order_by=BY_NAME),
    search(page_token="rubbish"),
]

SCRIPTS = {"logged models": LIFE, "logged model search": SEARCH}
