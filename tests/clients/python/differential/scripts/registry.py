"""Registered models, their versions, stages and aliases."""

from ..calls import Call, delete, get, patch, post

ADMIN = [
    post("registered-models/create", {"name": "<u>-a", "description": "d", "tags": [{"key": "t", "value": "1"}]}),
    post("registered-models/create", {"name": "<u>-a"}),
    post("registered-models/create", {"name": "<u>-plain"}),
    post("registered-models/create", {}),
    post("registered-models/create", {"name": ""}),
    post("registered-models/create", {"name": "  "}),
    post("registered-models/create", {"name": 5}),
    post("registered-models/create", {"name": "<u>/slash"}),
    post("registered-models/create", {"name": "<u>:colon"}),
    post("registered-models/create", {"name": "<u> space ü"}),
    post("registered-models/create", {"name": "<u>" + "n" * 257}),
    post("registered-models/create", {"name": "<u>-desc", "description": "x" * 5001}),
    post("registered-models/create", {"name": "<u>-desc2", "description": ""}),
    post("registered-models/create", {"name": "<u>-tagtype", "tags": "x"}),
    post("registered-models/create", {"name": "<u>-tagkey", "tags": [{"value": "x"}]}),
    post("registered-models/create", {"name": "<u>-tagname", "tags": [{"key": "..", "value": "x"}]}),
    post("registered-models/create", {"name": "<u>-taglong", "tags": [{"key": "k", "value": "x" * 100_001}]}),
    get("registered-models/get", {"name": "<u>-a"}),
    get("registered-models/get", {"name": "<u>-plain"}),
    get("registered-models/get", {"name": "<u>-A"}),
    get("registered-models/get", {"name": "<u>-none"}),
    get("registered-models/get", {"name": ""}),
    get("registered-models/get"),
    patch("registered-models/update", {"name": "<u>-a", "description": "new"}),
    patch("registered-models/update", {"name": "<u>-a", "description": ""}),
    patch("registered-models/update", {"name": "<u>-a"}),
    patch("registered-models/update", {"name": "<u>-a", "description": 5}),
    patch("registered-models/update", {"name": "<u>-none", "description": "x"}),
    patch("registered-models/update", {"description": "x"}),
    post("registered-models/set-tag", {"name": "<u>-a", "key": "k", "value": "v"}),
    post("registered-models/set-tag", {"name": "<u>-a", "key": "k", "value": "w"}),
    post("registered-models/set-tag", {"name": "<u>-a", "key": "k"}),
    post("registered-models/set-tag", {"name": "<u>-a", "key": "e", "value": ""}),
    post("registered-models/set-tag", {"name": "<u>-a", "value": "v"}),
    post("registered-models/set-tag", {"key": "k", "value": "v"}),
    post("registered-models/set-tag", {"name": "<u>-none", "key": "k", "value": "v"}),
    post("registered-models/set-tag", {"name": "<u>-a", "key": "k" * 251, "value": "v"}),
    post("registered-models/set-tag", {"name": "<u>-a", "key": "a//b", "value": "v"}),
    post("registered-models/set-tag", {"name": "<u>-a", "key": "k", "value": 5}),
    get("registered-models/get", {"name": "<u>-a"}),
    delete("registered-models/delete-tag", {"name": "<u>-a", "key": "k"}),
    delete("registered-models/delete-tag", {"name": "<u>-a", "key": "k"}),
    delete("registered-models/delete-tag", {"name": "<u>-a"}),
    delete("registered-models/delete-tag", {"name": "<u>-none", "key": "k"}),
    post("registered-models/rename", {"name": "<u>-a", "new_name": "<u>-b"}),
    get("registered-models/get", {"name": "<u>-a"}),
    get("registered-models/get", {"name": "<u>-b"}),
    post("registered-models/rename", {"name": "<u>-b", "new_name": "<u>-plain"}),
    post("registered-models/rename", {"name": "<u>-b", "new_name": ""}),
    post("registered-models/rename", {"name": "<u>-b"}),
    post("registered-models/rename", {"name": "<u>-b", "new_name": "x/y"}),
    post("registered-models/rename", {"name": "<u>-b", "new_name": 5}),
    post("registered-models/rename", {"name": "<u>-none", "new_name": "<u>-c"}),
    post("registered-models/rename", {"new_name": "<u>-c"}),
    post("registered-models/rename", {"name": "<u>-b", "new_name": "<u>-b"}),
    delete("registered-models/delete", {"name": "<u>-b"}),
    delete("registered-models/delete", {"name": "<u>-b"}),
    delete("registered-models/delete", {}),
    get("registered-models/get", {"name": "<u>-b"}),
    post("registered-models/create", {"name": "<u>-b"}),
]

SETUP = [
    post("experiments/create", {"name": "<u>/reg", "artifact_location": "s3://bucket/reg"}, e="experiment_id"),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1, "run_name": "r"}, r="run.info.run_id"),
    post("registered-models/create", {"name": "<u>-m"}),
]


def version(**fields):
    return post("model-versions/create", {"name": "<u>-m", **fields})


def of(number, **more):
    return {"name": "<u>-m", "version": number, **more}


VERSIONS = [
    *SETUP,
    version(source="s3://bucket/m1"),
    version(
        source="s3://bucket/m2",
        run_id="<r>",
        run_link="http://x/y",
        description="two",
        tags=[{"key": "t", "value": "1"}],
    ),
    version(source="s3://bucket/reg/<r>/artifacts/model", run_id="<r>"),
    version(source="runs:/<r>/model", run_id="<r>"),
    version(source="models:/<u>-m/1"),
    version(source="models:/<u>-m/99"),
    version(source="models:/none/1"),
    version(),
    version(source=""),
    version(source=5),
    post("model-versions/create", {"source": "s3://bucket/m1"}),
    post("model-versions/create", {"name": "<u>-none", "source": "s3://bucket/m1"}),
    version(source="s3://bucket/m", run_id="0" * 32),
    version(source="s3://bucket/../m"),
    version(source="s3://bucket/%2e%2e/m"),
    version(source="s3://bucket/%252e%252e/m"),
    version(source="s3://bucket//m"),
    version(source="s3://bucket/m/."),
    version(source="http://host/a/../../b"),
    version(source="mlflow-artifacts:/../x"),
    version(source="mlflow-artifacts://host/a/../b"),
    version(source="/etc"),
    version(source="/etc", run_id="<r>"),
    version(source="file:///etc", run_id="<r>"),
    version(source="file://host/etc"),
    version(source="./x"),
    version(source="x/y"),
    version(source="../x"),
    version(source="C:\\x"),
    version(source="dbfs:/x"),
    version(source="s3://bucket/m", tags=[{"key": "..", "value": "1"}]),
    version(source="s3://bucket/m", tags="x"),
    version(source="s3://bucket/m", model_id="m-" + "0" * 32),
    post("registered-models/create", {"name": "<u>-m2"}),
    post("model-versions/create", {"name": "<u>-m2", "source": "mlflow-artifacts:/0/x/artifacts/model"}),
    post("model-versions/create", {"name": "<u>-m2", "source": "s3://bucket/m", "run_id": "bad id"}),
    get("model-versions/get", of("1")),
    get("model-versions/get", of("2")),
    get("model-versions/get", of("3")),
    get("model-versions/get", of("99")),
    get("model-versions/get", of("0")),
    get("model-versions/get", of("-1")),
    get("model-versions/get", of("x")),
    get("model-versions/get", of("1.0")),
    get("model-versions/get", of("")),
    get("model-versions/get", {"name": "<u>-m"}),
    get("model-versions/get", {"version": "1"}),
    get("model-versions/get", {"name": "<u>-none", "version": "1"}),
    get("model-versions/get-download-uri", of("1")),
    get("model-versions/get-download-uri", of("6")),
    get("model-versions/get-download-uri", of("99")),
    get("model-versions/get-download-uri", {"name": "<u>-m"}),
    patch("model-versions/update", of("1", description="new")),
    patch("model-versions/update", of("1", description="")),
    patch("model-versions/update", of(3, description="number")),
    patch("model-versions/update", of("3")),
    patch("model-versions/update", of("99", description="x")),
    patch("model-versions/update", {"name": "<u>-m", "description": "x"}),
    post("model-versions/set-tag", of("1", key="k", value="v")),
    post("model-versions/set-tag", of("1", key="k")),
    post("model-versions/set-tag", of("1", value="v")),
    post("model-versions/set-tag", of("1", key="..", value="v")),
    post("model-versions/set-tag", of("x", key="k", value="v")),
    post("model-versions/set-tag", of("99", key="k", value="v")),
    get("model-versions/get", of("1")),
    delete("model-versions/delete-tag", of("1", key="k")),
    delete("model-versions/delete-tag", of("1", key="k")),
    delete("model-versions/delete-tag", of("99", key="k")),
    delete("model-versions/delete-tag", of("1")),
    delete("model-versions/delete", of("2")),
    delete("model-versions/delete", of("2")),
    delete("model-versions/delete", of("x")),
    delete("model-versions/delete", {"name": "<u>-m"}),
    get("model-versions/get", of("2")),
    get("registered-models/get", {"name": "<u>-m"}),
]


def transition(number, stage, archive=False):
    return post("model-versions/transition-stage", of(number, stage=stage, archive_existing_versions=archive))


def latest(**more):
    return post("registered-models/get-latest-versions", {"name": "<u>-m", **more})


def alias(name, number):
    return post("registered-models/alias", of(number, alias=name))


STAGES = [
    *SETUP,
    *[version(source=f"s3://bucket/m{i}") for i in range(4)],
    transition("1", "Production"),
    transition("2", "staging"),
    transition("3", "PRODUCTION", archive=True),
    transition("2", "None", archive=True),
    transition("4", "Archived", archive=True),
    transition("4", "Archived"),
    transition("1", "Bad"),
    transition("1", ""),
    transition("99", "Production"),
    transition("x", "Production"),
    post("model-versions/transition-stage", of("1", stage="Staging")),
    post("model-versions/transition-stage", of("1", archive_existing_versions=False)),
    post("model-versions/transition-stage", of("1", stage="Staging", archive_existing_versions="yes")),
    post("model-versions/transition-stage", of("1", stage="Staging", archive_existing_versions="true")),
    post("model-versions/transition-stage", {"name": "<u>-m", "stage": "Staging", "archive_existing_versions": False}),
    latest(),
    latest(stages=["Production"]),
    latest(stages=["production", "None"]),
    latest(stages=[]),
    latest(stages=["Bad"]),
    latest(stages="Production"),
    post("registered-models/get-latest-versions", {"name": "<u>-none"}),
    post("registered-models/get-latest-versions", {}),
    get("registered-models/get-latest-versions", {"name": "<u>-m", "stages": "Production"}),
    get("registered-models/get-latest-versions", {"name": "<u>-m"}),
    Call("GET", "registered-models/get-latest-versions", body={"name": "<u>-m", "stages": ["Archived"]}),
    alias("champion", "1"),
    alias("Other-1", "1"),
    alias("champion", "3"),
    alias("champion", "99"),
    alias("champion", "x"),
    alias("latest", "1"),
    alias("LATEST", "1"),
    alias("v1", "1"),
    alias("V22", "1"),
    alias("v1x", "1"),
    alias("5", "1"),
    alias("bad alias", "1"),
    alias("bad/alias", "1"),
    alias("ü", "1"),
    alias("a" * 255, "1"),
    alias("a" * 256, "1"),
    alias("", "1"),
    post("registered-models/alias", {"name": "<u>-m", "alias": "x"}),
    post("registered-models/alias", {"name": "<u>-none", "alias": "x", "version": "1"}),
    get("registered-models/alias", {"name": "<u>-m", "alias": "champion"}),
    get("registered-models/alias", {"name": "<u>-m", "alias": "CHAMPION"}),
    get("registered-models/alias", {"name": "<u>-m", "alias": "none"}),
    get("registered-models/alias", {"name": "<u>-m", "alias": "latest"}),
    get("registered-models/alias", {"name": "<u>-none", "alias": "champion"}),
    get("registered-models/alias", {"name": "<u>-m"}),
    get("model-versions/get", of("1")),
    get("registered-models/get", {"name": "<u>-m"}),
    delete("registered-models/alias", {"name": "<u>-m", "alias": "champion"}),
    delete("registered-models/alias", {"name": "<u>-m", "alias": "champion"}),
    delete("registered-models/alias", {"name": "<u>-m"}),
    delete("registered-models/alias", {"name": "<u>-none", "alias": "champion"}),
    delete("model-versions/delete", of("1")),
    get("registered-models/get", {"name": "<u>-m"}),
    delete("model-versions/delete", of("3")),
    delete("model-versions/delete", of("4")),
    version(source="s3://bucket/after"),
    post("registered-models/rename", {"name": "<u>-m", "new_name": "<u>-renamed"}),
    get("model-versions/get", {"name": "<u>-renamed", "version": "2"}),
    get("model-versions/get", of("2")),
    delete("registered-models/delete", {"name": "<u>-renamed"}),
    get("model-versions/get", {"name": "<u>-renamed", "version": "2"}),
    post("registered-models/create", {"name": "<u>-renamed"}),
    post("model-versions/create", {"name": "<u>-renamed", "source": "s3://bucket/again"}),
]


def models(filter="name LIKE '<u>-s%'", **query):
    return get("registered-models/search", {"filter": filter, **query})


def versions(filter, **query):
    return get("model-versions/search", {"filter": filter, **query})


SEARCH = [
    *[
        post("registered-models/create", {"name": f"<u>-s{n}", "tags": [{"key": "team", "value": t}]})
        for n, t in [("a", "red"), ("B", "Blue"), ("c", "red"), ("d%", "x")]
    ],
    post("runs/create", {"experiment_id": "0", "start_time": 1, "run_name": "r"}, r="run.info.run_id"),
    *[
        post("model-versions/create", {"name": f"<u>-s{n}", "source": f"s3://b/{i}", **more})
        for n, i, more in [
            ("a", 0, {}),
            ("a", 1, {"run_id": "<r>", "tags": [{"key": "k", "value": "v"}]}),
            ("a", 2, {}),
            ("B", 3, {}),
            ("c", 4, {"tags": [{"key": "k", "value": "w"}]}),
        ]
    ],
    models(),
    models(order_by="name DESC"),
    models(order_by="name"),
    models(order_by="last_updated_timestamp ASC"),
    models(order_by="timestamp DESC"),
    models(order_by="creation_timestamp"),
    models(order_by="nothing"),
    models(order_by="name SIDEWAYS"),
    models(order_by=["timestamp", "name DESC"]),
    *[
        models(f)
        for f in [
            "name = '<u>-sa'",
            "name != '<u>-sa' AND name LIKE '<u>-s%'",
            "name ILIKE '<u>-sb'",
            "name LIKE '<u>-sb'",
            "name LIKE '<u>-s_'",
            "name LIKE '<u>-s%' AND tags.team = 'red'",
            "name LIKE '<u>-s%' AND tag.team = 'red'",
            "name LIKE '<u>-s%' AND tags.team != 'red'",
            "name LIKE '<u>-s%' AND tags.`team` ILIKE 'blue'",
            "name IN ('<u>-sa')",
            "name > 'a'",
            "name = 5",
            "version_number > 1",
            "run_id = 'x'",
            "nothing = 'x'",
            "name = 'a' OR name = 'b'",
            "name =",
            "attributes.name = '<u>-sa'",
        ]
    ],
    models(max_results=0),
    models(max_results=1001),
    models(max_results=1000),
    models(max_results="x"),
    models(max_results=-1),
    models(page_token="rubbish"),
    get("registered-models/search", {"filter": "name LIKE '<u>-s%'", "max_results": 3}, token="next_page_token"),
    get("registered-models/search", {"filter": "name LIKE '<u>-s%'", "max_results": 3, "page_token": "<token>"}),
    models(max_results=4),
    *[
        versions(f)
        for f in [
            "name = '<u>-sa'",
            "name LIKE '<u>-s%'",
            "name ILIKE '<u>-sb'",
            "name != '<u>-sa' AND name LIKE '<u>-s%'",
            "run_id = '<r>'",
            "run_id != '<r>' AND name = '<u>-sa'",
            "run_id IN ('<r>', 'x')",
            "run_id IN ()",
            "run_id NOT IN ('<r>')",
            "source_path = 's3://b/0' AND name = '<u>-sa'",
            "source_path LIKE 's3://b/%' AND name = '<u>-sa'",
            "version_number > 1 AND name = '<u>-sa'",
            "version_number = 2 AND name = '<u>-sa'",
            "version_number != 2 AND name = '<u>-sa'",
            "version_number = '2' AND name = '<u>-sa'",
            "version = 2",
            "tags.k = 'v' AND name = '<u>-sa'",
            "tags.k != 'v' AND name LIKE '<u>-s%'",
            "tags.k LIKE '%' AND name LIKE '<u>-s%'",
            "name = '<u>-sa' AND tags.k = 'v' AND run_id = '<r>'",
            "name = '<u>-none'",
            "nothing = 'x'",
            "name > 'x'",
            "name = '<u>-sa' OR name = '<u>-sB'",
            "creation_timestamp > 5 AND name = '<u>-sa'",
            "current_stage = 'None'",
        ]
    ],
    versions("name = '<u>-sa'", order_by="version_number ASC"),
    versions("name = '<u>-sa'", order_by="version_number DESC"),
    versions("name LIKE '<u>-s%'", order_by=["name DESC", "version_number ASC"]),
    versions("name LIKE '<u>-s%'", order_by="creation_timestamp ASC"),
    versions("name LIKE '<u>-s%'", order_by="last_updated_timestamp"),
    versions("name = '<u>-sa'", order_by="nothing"),
    versions("name = '<u>-sa'", order_by="run_id"),
    versions("name = '<u>-sa'", max_results=0),
    versions("name = '<u>-sa'", max_results=200_001),
    versions("name = '<u>-sa'", max_results=200_000),
    versions("name = '<u>-sa'", max_results="x"),
    versions("name = '<u>-sa'", page_token="rubbish"),
    get("model-versions/search", {"filter": "name = '<u>-sa'", "max_results": 2}, token="next_page_token"),
    get("model-versions/search", {"filter": "name = '<u>-sa'", "max_results": 2, "page_token": "<token>"}),
    versions("name = '<u>-sa'", max_results=3),
    # Prompts are registered models that searches hide.
    post(
        "registered-models/create",
        {"name": "<u>-sprompt", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]},
    ),
    post("registered-models/create", {"name": "<u>-sprompt"}),
    post(
        "model-versions/create",
        {
            "name": "<u>-sprompt",
            "source": "dummy-source",
            "tags": [
                {"key": "mlflow.prompt.is_prompt", "value": "true"},
                {"key": "mlflow.prompt.text", "value": "say {{x}}"},
            ],
        },
    ),
    models(),
    models("name LIKE '<u>-s%' AND tags.`mlflow.prompt.is_prompt` = 'true'"),
    models("name LIKE '<u>-s%' AND tags.`mlflow.prompt.is_prompt` != 'true'"),
    models("name LIKE '<u>-s%' AND tags.`mlflow.prompt.is_prompt` != 'false'"),
    models("name LIKE '<u>-s%' AND tags.`mlflow.prompt.is_prompt` = 'false'"),
    versions("name = '<u>-sprompt'"),
    versions("name = '<u>-sprompt' AND tags.`mlflow.prompt.is_prompt` = 'true'"),
    get("model-versions/get", {"name": "<u>-sprompt", "version": "1"}),
]

FROM_MODEL = [
    post("experiments/create", {"name": "<u>/regm", "artifact_location": "s3://bucket/regm"}, e="experiment_id"),
    post("runs/create", {"experiment_id": "<e>", "start_time": 1, "run_name": "r"}, r="run.info.run_id"),
    post("logged-models", {"experiment_id": "<e>", "name": "lm", "source_run_id": "<r>"}, m="model.info.model_id"),
    post("registered-models/create", {"name": "<u>-m"}),
    version(source="models:/<m>", model_id="<m>"),
    version(source="s3://bucket/regm/models/<m>/artifacts", model_id="<m>"),
    get("model-versions/get", of("1")),
    get("model-versions/get-download-uri", of("1")),
    get("model-versions/get-download-uri", of("2")),
    get("logged-models/<m>"),
]

# Versions that are made of other versions.
COPIES = [
    *SETUP,
    version(source="s3://bucket/reg/<r>/artifacts/model", run_id="<r>"),
    post("registered-models/create", {"name": "<u>-copy"}),
    alias("champion", "1"),
    *[
        post("model-versions/create", {"name": "<u>-copy", "source": source})
        for source in ["models:/<u>-m/1", "models:/<u>-m@champion", "models:/<u>-m/latest", "models:/<u>-m@none"]
    ],
    *[
        post("model-versions/create", {"name": "<u>-copy", "source": "models:/<u>-m/1", **origin})
        for origin in [{"run_id": "<r>"}, {"run_id": "0" * 32}]
    ],
    get("model-versions/search", {"filter": "run_id = '<r>' and name = '<u>-copy'", "max_results": "10"}),
    post("registered-models/create", {"name": "<u>-prompt", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]}),
    post(
        "model-versions/create",
        {
            "name": "<u>-prompt",
            "source": "dummy-source",
            "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "x"}],
        },
    ),
    post("model-versions/create", {"name": "<u>-copy", "source": "models:/<u>-prompt/1"}),
]

SCRIPTS = {
    "copies of versions": COPIES,
    "registered models": ADMIN,
    "model versions": VERSIONS,
    "stages and aliases": STAGES,
    "registry search": SEARCH,
    "versions of logged models": FROM_MODEL,
}
