"""The table of differences that are meant, each with its reason; docs/mlflow-compatibility.md has the reasons in prose."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Expected:
    """One difference: the script and call it is met at, how what is told of it begins, and why it is there."""

    script: str
    call: str
    difference: str
    reason: str

    def covers(self, call, difference: str) -> bool:
        return call.label() == self.call and difference.startswith(self.difference)


REASONS = {
    "MISFIT": "MLflow reads a body up to the first value that does not fit, and goes on with what it has by then; here the body is refused.",
    "FAULT": "A mistake of the caller that MLflow answers with 500, so that clients retry for minutes; here it is told as one.",
    "LENIENT": "MLflow refuses it by accident of its parser or its database; here the request does what it says.",
    "STORE": "MLflow shows an error of its database; here the error code says what is wrong.",
    "LIMITS": "The limits and required fields of 3.7 hold on every way in; MLflow 3.17 stores such values.",
    "UNKNOWN": "An id in a form that no id has is one that does not exist.",
    "OLDER": "3.7 and 3.17 differ, and the tests of 3.7 win: ranges of max_results, a token after every full page of runs, sampled steps that always hold the ends.",
    "NEWER": "Added after 3.7, and not taken over: lists for other attributes, filters by experiment_id, sources bound to their run.",
    "GRAMMAR": "A filter is read whole: a clause that says nothing or a value of the wrong type is an error.",
    "LEVELS": "Attributes have the same names in filters and in orders, and none may come twice.",
    "PATHS": "A path with a backslash, a NUL or a folder whose name ends in a colon is refused on every system; doubled slashes are one.",
    "TOLD": "Told here, where MLflow leaves it out: aliases of latest versions, the model of a version, the versions of a model.",
    "DELETED": "A logged model that was deleted is gone for writers too.",
    "NEWEST": "A filter by a metric of logged models looks at the newest point of each data set, not at any point.",
    "ABSENT": "A comparison with what an entity lacks is false, `!=` too, as with tags and params.",
    "KEEPS": "An update changes the fields that it names.",
    "FILES": "Errors of files are JSON with a code, and a list tells the size of every file.",
    "ENCODED": "A file name that is not ASCII is sent in the one encoding that every client reads alike (RFC 6266).",
    "RUNNING": "A run that is created without a start starts now.",
    "HTTP": "HTTP and JSON by the letter: media types in any case, no byte order mark, no blanks around numbers, names in snake_case, HEAD as GET, no preflight.",
}

# Reason, then what differs, then the calls.
_TABLE = {
    "MISFIT": {
        "message names 'name': The request body is not JSON": [
            ("bodies", "POST experiments/create b'{' Content-Type: application/json"),
            ("bodies", "POST experiments/create b'name=x' Content-Type: application/json"),
            ("bodies", 'POST experiments/create b\'{"name": "<u>/trailing"} x\' Content-Type: application/json'),
            ("bodies", 'POST experiments/create b\'{"name": "<u>/\\xff"}\' Content-Type: application/json'),
        ],
        "200 -> 400 INVALID_PARAMETER_VALUE": [
            ("experiments", 'POST experiments/create {"name": "<u>/tag-value", "tags": [{"key": "k", "value": 3}]}'),
            ("experiment search", 'POST experiments/search {"max_results": 50, "filter": "name LIKE \'<u>/s%\'", "view_type": "active_only"}'),
            ("experiment search", 'POST experiments/search {"max_results": 50, "filter": "name LIKE \'<u>/s%\'", "view_type": "SOME"}'),
            ("experiment search", 'POST experiments/search {"max_results": 50, "filter": "name LIKE \'<u>/s%\'", "view_type": 9}'),
            ("runs", 'POST runs/create {"experiment_id": "<e>", "start_time": 2000.5, "run_name": "half"}'),
            ("runs", 'POST runs/create {"experiment_id": "<e>", "start_time": 1, "run_name": "a", "tags": "k"}'),
            ("runs", 'POST runs/update {"run_id": "<r>", "status": "finished"}'),
            ("runs", 'POST runs/update {"run_id": "<r>", "status": "DONE"}'),
            ("run logging", 'POST runs/log-metric b\'{"run_id":"<x>","key":"bare","value":NaN,"timestamp":1}\' Content-Type: application/json'),
            ("run logging", 'POST runs/log-metric b\'{"run_id":"<x>","key":"bareinf","value":Infinity,"timestamp":1}\' Content-Type: application/json'),
            ("run logging", 'POST runs/log-metric b\'{"run_id":"<x>","key":"huge","value":1e999,"timestamp":1}\' Content-Type: application/json'),
            ("run logging", 'POST runs/log-metric {"run_id": "<x>", "key": "big", "value": 1, "timestamp": 1, "step": 9223372036854775808}'),
            ("run logging", 'POST runs/log-metric {"run_id": "<x>", "key": "m", "value": true, "timestamp": 10}'),
            ("run logging", 'POST runs/log-metric {"run_id": "<x>", "key": "m", "value": 1, "timestamp": 1.5}'),
            ("run logging", 'POST runs/log-metric {"run_id": "<x>", "key": "m", "value": 1, "timestamp": 10, "step": 1.5}'),
            ("run logging", 'POST runs/log-metric {"run_id": "<x>", "key": "m", "value": 1, "timestamp": 10, "step": true}'),
            ("run batches", 'POST runs/log-batch {"run_id": "<x>", "metrics": [{"key": "ok", "value": "x", "timestamp": 1}]}'),
            ("run batches", 'POST runs/log-batch {"run_id": "<x>", "metrics": [{"key": "ok", "value": 1, "timestamp": "x"}]}'),
            ("run batches", 'POST runs/log-batch {"run_id": "<x>", "params": [{"key": "num", "value": 5}]}'),
            ("run batches", 'POST runs/log-batch {"run_id": "<x>", "tags": [{"key": "num", "value": 5}]}'),
            ("run inputs", 'POST runs/log-inputs {"run_id": "<x>", "datasets": [{"dataset": "x"}]}'),
            ("run inputs", 'POST runs/log-inputs {"run_id": "<x>", "datasets": ["x"]}'),
            ("run search pages", 'POST runs/search {"experiment_ids": [null]}'),
            ("run search pages", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "", "order_by": ["start_time"], "run_view_type": "NONE"}'),
            ("run search pages", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "", "order_by": ["start_time"], "run_view_type": 8}'),
            ("run search pages", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "", "order_by": ["start_time"], "page_token": 5}'),
            ("metric history", 'GET metrics/get-history ?run_id=<a>&metric_key=m&max_results=x'),
            ("logged models", 'PATCH logged-models/<unnamed> {"model_id": "<unnamed>", "status": "READY"}'),
        ],
    },
    "FAULT": {
        "500 INTERNAL_ERROR -> 404 RESOURCE_DOES_NOT_EXIST": [
            ("experiments", 'GET experiments/get ?experiment_id=99999999999999999999'),
        ],
        "500 -> 400 INVALID_PARAMETER_VALUE": [
            ("run logging", 'POST runs/log-metric {"run_id": "<r>", "key": "m", "value": [1], "timestamp": 10}'),
            ("run batches", 'POST runs/log-batch {"run_id": "<x>", "metrics": [5]}'),
            ("run batches", 'POST runs/log-batch {"run_id": "<x>", "metrics": [null]}'),
            ("metric history bulk", 'GET /ajax-api/2.0/mlflow/metrics/get-history-bulk ?run_id=<b>&metric_key=m&max_results=x'),
            ("logged model search", 'POST logged-models/search {"experiment_ids": ["<e>"], "page_token": "rubbish"}'),
            ("bodies", 'POST experiments/create b\'"\\\\"{\\\\\\\\\\\\"name\\\\\\\\\\\\": \\\\\\\\\\\\"<u>/triple\\\\\\\\\\\\"}\\\\""\' Content-Type: application/json'),
            ("bodies", "POST experiments/create b'[]' Content-Type: application/json"),
            ("bodies", "POST experiments/create b'5' Content-Type: application/json"),
            ("bodies", 'POST experiments/create b\'"text"\' Content-Type: application/json'),
        ],
        "500 INTERNAL_ERROR -> 400 INVALID_PARAMETER_VALUE": [
            ("run search", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "", "order_by": ["start_time", "start_time"]}'),
            ("run search", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "", "order_by": ["metrics.loss", "metric.loss"]}'),
            ("logged model search", 'POST logged-models/search {"experiment_ids": ["<e>"], "order_by": [{"field_name": "name", "ascending": true}], "filter": "creation_timestamp = \'x\'"}'),
            ("logged model search", 'POST logged-models/search {"experiment_ids": ["<e>"], "order_by": [{"field_name": "name", "ascending": true}], "filter": "metrics.acc = \'x\'"}'),
            ("stages and aliases", 'POST model-versions/transition-stage {"name": "<u>-m", "version": "2", "stage": "None", "archive_existing_versions": true}'),
            ("stages and aliases", 'POST model-versions/transition-stage {"name": "<u>-m", "version": "4", "stage": "Archived", "archive_existing_versions": true}'),
        ],
    },
    "LENIENT": {
        "400 RESOURCE_ALREADY_EXISTS -> 200": [
            ("experiments", 'POST experiments/create {"name": "<u>/twice", "tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}'),
        ],
        "400 INVALID_PARAMETER_VALUE -> 200": [
            ("runs", 'POST runs/create {"experiment_id": 0, "run_name": "in default by number", "start_time": 1}'),
            ("logged models", 'POST logged-models/<m>/params {"params": [{"key": "q", "value": "2"}]}'),
            ("logged model search", 'POST logged-models/search {}'),
            ("model versions", 'PATCH model-versions/update {"name": "<u>-m", "version": 3, "description": "number"}'),
        ],
        "400 BAD_REQUEST -> 200": [
            ("runs", 'POST runs/create {"experiment_id": "", "run_name": "in default by nothing", "start_time": 1}'),
            ("runs", 'POST runs/create {"experiment_id": "<e>", "start_time": 1, "run_name": "dup", "tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}'),
            ("logged models", 'POST logged-models/<m>/params {"model_id": "<m>", "params": [{"key": "q", "value": "2"}]}'),
        ],
        "500 -> 200": [
            ("run batches", 'POST runs/log-batch {"run_id": "<r>", "metrics": null}'),
            ("run search pages", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "", "order_by": ["start_time"], "max_results": null}'),
            ("query strings", "GET registered-models/search ?max_results=5.0&filter=name = '<u>'"),
            ("query strings", "GET registered-models/search ?max_results=1e1&filter=name = '<u>'"),
        ],
        "models:": [
            ("logged model search", 'POST logged-models/search {"experiment_ids": ["<e>"], "order_by": [{"field_name": "name", "ascending": true}], "filter": "status = \'LOGGED_MODEL_READY\'"}'),
            ("logged model search", 'POST logged-models/search {"experiment_ids": ["<e>"], "datasets": [{"dataset_name": "d"}], "order_by": [{"field_name": "name", "ascending": true}]}'),
            ("logged model search", 'POST logged-models/search {"experiment_ids": ["<e>"], "datasets": [{"dataset_name": "d"}], "order_by": [{"field_name": "name", "ascending": true}], "filter": "metrics.acc > 0"}'),
        ],
    },
    "STORE": {
        "error_code BAD_REQUEST -> RESOURCE_ALREADY_EXISTS": [
            ("experiments", 'POST experiments/update {"experiment_id": "<a>", "new_name": "<u>/tagged"}'),
        ],
        "error_code BAD_REQUEST -> INVALID_PARAMETER_VALUE": [
            ("logged models", 'POST logged-models/<m>/params {"model_id": "<m>", "params": [{"key": "q", "value": "3"}]}'),
        ],
    },
    "LIMITS": {
        "200 -> 400 INVALID_PARAMETER_VALUE": [
            ("experiments", 'POST experiments/create {"name": "<u>/tag-long", "tags": [{"key": "k", "value": "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv… (5062 characters)'),
            ("experiment tags", 'POST experiments/set-experiment-tag {"experiment_id": "<x>", "key": "k", "value": "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv… (5050 characters)'),
            ("runs", 'POST runs/create {"experiment_id": "<e>", "start_time": 1, "run_name": "a", "tags": [{"key": "", "value": "b"}]}'),
            ("runs", 'POST runs/create {"experiment_id": "<e>", "start_time": 1, "run_name": "a", "tags": [{"key": "..", "value": "b"}]}'),
            ("run logging", 'POST runs/set-tag {"run_id": "<x>", "key": "nul", "value": "a\\u0000b"}'),
            ("run inputs", 'POST runs/log-inputs {"run_id": "<x>", "datasets": [{"dataset": {"name": "", "digest": "1", "source_type": "local", "source": "/x"}}]}'),
            ("run inputs", 'POST runs/log-inputs {"run_id": "<x>", "datasets": [{"dataset": {"name": "x"}}]}'),
            ("run inputs", 'POST runs/log-inputs {"run_id": "<x>", "datasets": [{"dataset": {"name": "x", "digest": "1"}}]}'),
            ("run inputs", 'POST runs/log-inputs {"run_id": "<x>", "datasets": [{"dataset": {"name": "x", "digest": "1", "source_type": "local"}}]}'),
            ("run inputs", 'POST runs/log-inputs {"run_id": "<x>", "datasets": [{"tags": []}]}'),
            ("run inputs", 'POST runs/log-inputs {"run_id": "<x>", "datasets": [{"dataset": {"name": "x", "digest": "1", "source_type": "local", "source": "/x"}, "tags": [{"value": "k"}]}]}'),
            ("run inputs", 'POST runs/log-inputs {"run_id": "<x>", "datasets": [], "models": [{}]}'),
            ("logged models", 'POST logged-models {"experiment_id": "<e>", "name": "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn… (537 characters)'),
            ("logged models", 'POST logged-models {"experiment_id": "<e>", "name": "x", "params": [{"key": "pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp… (327 characters)'),
            ("logged models", 'POST logged-models {"experiment_id": "<e>", "name": "x", "params": [{"key": "p", "value": "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv… (6077 characters)'),
            ("logged models", 'POST logged-models {"experiment_id": "<e>", "name": "x", "tags": [{"key": "..", "value": "1"}]}'),
            ("logged models", 'PATCH logged-models/<unnamed>/tags {"tags": [{"key": "..", "value": "2"}]}'),
            ("logged models", 'PATCH logged-models/<unnamed>/tags {"tags": [{"value": "2"}]}'),
            ("registered models", 'POST registered-models/create {"name": "<u>nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn… (272 characters)'),
            ("model versions", 'POST model-versions/create {"name": "<u>-m2", "source": "s3://bucket/m", "run_id": "bad id"}'),
            ("bodies", 'POST experiments/create b\'{"name": "<u>/nul \\\\u0000"}\' Content-Type: application/json'),
        ],
    },
    "UNKNOWN": {
        "400 INVALID_PARAMETER_VALUE -> 404 RESOURCE_DOES_NOT_EXIST": [
            ("experiments", 'GET experiments/get ?experiment_id=no-number'),
            ("runs", 'POST runs/create {"experiment_id": "abc"}'),
            ("logged models", 'POST logged-models {"experiment_id": "abc", "name": "x"}'),
            ("query strings", 'GET experiments/get?experiment_id=0;x=1'),
        ],
        "400 INVALID_PARAMETER_VALUE -> 200": [
            ("run search pages", 'POST runs/search {"experiment_ids": ["abc"]}'),
        ],
    },
    "OLDER": {
        "next_page_token:": [
            ("run search pages", 'POST runs/search {"experiment_ids": ["<e>"], "max_results": 5, "order_by": ["start_time"]}'),
        ],
        "runs:": [
            ("run search pages", 'POST runs/search {"experiment_ids": ["<e>"], "max_results": 5, "order_by": ["start_time"], "page_token": "<full>"}'),
        ],
        "400 INVALID_PARAMETER_VALUE -> 200": [
            ("metric history", 'GET metrics/get-history ?run_id=<a>&metric_key=m&max_results=0'),
        ],
        "200 -> 400 INVALID_PARAMETER_VALUE": [
            ("metric history bulk", 'GET /ajax-api/2.0/mlflow/metrics/get-history-bulk ?run_id=<b>&metric_key=m&max_results=-1'),
            ("logged model search", 'POST logged-models/search {"experiment_ids": ["<e>"], "order_by": [{"field_name": "metrics.acc", "dataset_digest": "1"}]}'),
            ("logged model search", 'POST logged-models/search {"experiment_ids": ["<e>"], "max_results": -1}'),
            ("registry search", "GET registered-models/search ?filter=name LIKE '<u>-s%'&max_results=0"),
            ("registry search", "GET registered-models/search ?filter=name LIKE '<u>-s%'&max_results=-1"),
        ],
        "metrics": [
            ("metric history interval", 'GET /ajax-api/2.0/mlflow/metrics/get-history-bulk-interval ?run_ids=<b>&metric_key=m&max_results=5'),
            ("metric history interval", 'GET /ajax-api/2.0/mlflow/metrics/get-history-bulk-interval ?run_ids=<b>&metric_key=m&max_results=1'),
            ("metric history interval", 'GET /ajax-api/2.0/mlflow/metrics/get-history-bulk-interval ?run_ids=<b>&metric_key=m&max_results=7&start_step=3&end_step=30'),
            ("metric history interval", 'GET /ajax-api/2.0/mlflow/metrics/get-history-bulk-interval ?run_ids=<a>&metric_key=m&max_results=3'),
            ("metric history interval", 'GET metrics/get-history-bulk-interval ?run_ids=<b>&metric_key=m&max_results=4'),
        ],
    },
    "NEWER": {
        "200 -> 400 INVALID_PARAMETER_VALUE": [
            ("experiment search", 'POST experiments/search {"max_results": 50, "filter": "name LIKE \'<u>/s%\' AND experiment_id = \'1\'"}'),
            ("registry search", "GET registered-models/search ?filter=name IN ('<u>-sa')"),
            ("registry search", "GET model-versions/search ?filter=run_id NOT IN ('<r>')"),
        ],
        "400 INVALID_PARAMETER_VALUE -> 200": [
            ("model versions", 'POST model-versions/create {"name": "<u>-m2", "source": "mlflow-artifacts:/0/x/artifacts/model"}'),
        ],
    },
    "GRAMMAR": {
        "200 -> 400 INVALID_PARAMETER_VALUE": [
            ("experiment search", 'POST experiments/search {"max_results": 50, "filter": "name = \'<u>/sa\' AND"}'),
            ("run search", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "metrics.loss < 1 AND", "order_by": ["start_time"]}'),
            ("run search", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "AND metrics.loss < 1", "order_by": ["start_time"]}'),
            ("run search", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "metrics.loss < 1 metrics.acc > 1", "order_by": ["start_time"]}'),
            ("run search", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "metrics. loss < 1", "order_by": ["start_time"]}'),
            ("logged model search", 'POST logged-models/search {"experiment_ids": ["<e>"], "order_by": [{"field_name": "name", "ascending": true}], "filter": "params.lr = 1"}'),
        ],
        "400 INVALID_PARAMETER_VALUE -> 200": [
            ("run search", 'POST runs/search {"experiment_ids": ["<e>"], "filter": " ", "order_by": ["start_time"]}'),
        ],
    },
    "LEVELS": {
        "400 INVALID_PARAMETER_VALUE -> 200": [
            ("run search", 'POST runs/search {"experiment_ids": ["<e>"], "filter": "", "order_by": ["attributes.`Run name`"]}'),
        ],
    },
    "PATHS": {
        "404 RESOURCE_DOES_NOT_EXIST -> 400 INVALID_PARAMETER_VALUE": [
            ("artifact proxy", 'GET /api/2.0/mlflow-artifacts/artifacts/..%5cx'),
            ("artifact proxy", 'GET /api/2.0/mlflow-artifacts/artifacts/a%5cb'),
            ("artifact proxy", 'GET /api/2.0/mlflow-artifacts/artifacts/a/..%00/x'),
        ],
        "200 -> 400 INVALID_PARAMETER_VALUE": [
            ("artifact proxy", "PUT /api/2.0/mlflow-artifacts/artifacts/<u>.out/C:/x b'x'"),
            ("artifact proxy", "PUT /api/2.0/mlflow-artifacts/artifacts/<u>.out/..%5cx b'x'"),
            ("artifact proxy", "PUT /api/2.0/mlflow-artifacts/artifacts/<u>.out/a%5cb b'x'"),
            ("artifact proxy", "PUT /api/2.0/mlflow-artifacts/artifacts/<u>.out/C:%5cx b'x'"),
            ("artifact proxy", "PUT /api/2.0/mlflow-artifacts/artifacts/<u>.out/a/..%00/x b'x'"),
            ("artifact proxy", 'DELETE /api/2.0/mlflow-artifacts/artifacts/..%5cx'),
            ("artifact proxy", 'DELETE /api/2.0/mlflow-artifacts/artifacts/a%5cb'),
            ("artifact proxy", 'DELETE /api/2.0/mlflow-artifacts/artifacts/a/..%00/x'),
            ("artifact proxy", 'GET /api/2.0/mlflow-artifacts/artifacts ?path=..%5cx'),
            ("artifact proxy", 'GET /api/2.0/mlflow-artifacts/artifacts ?path=a%5cb'),
            ("artifact proxy", 'GET /api/2.0/mlflow-artifacts/artifacts ?path=a/..%00/x'),
        ],
        "500 INTERNAL_ERROR -> 200": [
            ("artifact proxy", "PUT /api/2.0/mlflow-artifacts/artifacts/<u>.out/%2fetc/passwd b'x'"),
            ("artifact proxy", "PUT /api/2.0/mlflow-artifacts/artifacts/<u>.out///etc/passwd b'x'"),
        ],
        "308 -> 400 INVALID_PARAMETER_VALUE": [
            ("artifact proxy", 'DELETE /api/2.0/mlflow-artifacts/artifacts/%2fetc/passwd'),
            ("artifact proxy", 'DELETE /api/2.0/mlflow-artifacts/artifacts///etc/passwd'),
        ],
    },
    "TOLD": {
        "registered_model.latest_versions[1].aliases:": [
            ("stages and aliases", 'GET registered-models/get ?name=<u>-m'),
        ],
        "model_version.model_id:": [
            ("versions of logged models", 'POST model-versions/create {"name": "<u>-m", "source": "models:/<m>", "model_id": "<m>"}'),
            ("versions of logged models", 'POST model-versions/create {"name": "<u>-m", "source": "s3://bucket/regm/models/<m>/artifacts", "model_id": "<m>"}'),
            ("versions of logged models", 'GET model-versions/get ?name=<u>-m&version=1'),
        ],
        "model.info.registrations:": [
            ("versions of logged models", 'GET logged-models/<m>'),
        ],
    },
    "DELETED": {
        "200 -> 404 RESOURCE_DOES_NOT_EXIST": [
            ("logged models", 'PATCH logged-models/<m>/tags {"tags": [{"key": "t", "value": "2"}]}'),
        ],
    },
    "NEWEST": {
        "models:": [
            ("logged model search", 'POST logged-models/search {"experiment_ids": ["<e>"], "order_by": [{"field_name": "name", "ascending": true}], "filter": "metrics.acc < 0.4"}'),
        ],
    },
    "ABSENT": {
        "model_versions:": [
            ("registry search", "GET model-versions/search ?filter=run_id != '<r>' AND name = '<u>-sa'"),
        ],
    },
    "KEEPS": {
        "model_version.description:": [
            ("model versions", 'PATCH model-versions/update {"name": "<u>-m", "version": "3"}'),
        ],
    },
    "FILES": {
        "400 -> 404 RESOURCE_DOES_NOT_EXIST": [
            ("artifact proxy", 'GET /api/2.0/mlflow-artifacts/artifacts/<u>/sub'),
        ],
        "files[2].file_size:": [
            ("artifact proxy", 'GET /api/2.0/mlflow-artifacts/artifacts ?path=<u>/sub'),
        ],
        "content type text -> json": [
            ("artifacts of runs", 'GET /get-artifact ?run_id=<r>'),
            ("artifacts of runs", 'GET /model-versions/get-artifact ?name=<u>-files&version=1'),
        ],
        "404 RESOURCE_DOES_NOT_EXIST -> 400 INVALID_PARAMETER_VALUE": [
            ("artifacts of runs", 'GET /get-artifact ?path=a.txt'),
        ],
    },
    "ENCODED": {
        "content-disposition": [
            ("artifact proxy", 'GET /api/2.0/mlflow-artifacts/artifacts/<u>/sub/with%20space%20%C3%BC.html'),
        ],
    },
    "RUNNING": {
        "run.info.start_time:": [
            ("runs", 'POST runs/create {"experiment_id": "<e>"}'),
        ],
    },
    "HTTP": {
        "200 -> 400 INVALID_PARAMETER_VALUE": [
            ("bodies", 'POST experiments/create b\'\\xef\\xbb\\xbf{"name": "<u>/bom"}\' Content-Type: application/json'),
            ("query strings", "GET registered-models/search ?max_results= 5 &filter=name = '<u>'"),
        ],
        "400 INVALID_PARAMETER_VALUE -> 200": [
            ("bodies", 'POST experiments/create b\'{"name": "<u>/upper"}\' Content-Type: Application/JSON'),
        ],
        "run.data.tags[0].value:": [
            ("bodies", 'POST runs/create {"experimentId": "0", "startTime": 5, "runName": "camel"}'),
        ],
        "run.info.run_name:": [
            ("bodies", 'POST runs/create {"experimentId": "0", "startTime": 5, "runName": "camel"}'),
        ],
        "run.info.start_time:": [
            ("bodies", 'POST runs/create {"experimentId": "0", "startTime": 5, "runName": "camel"}'),
        ],
        "200 -> 404 RESOURCE_DOES_NOT_EXIST": [
            ("query strings", 'GET experiments/get ?experiment_id= 0'),
        ],
        "204 -> 405": [
            ("routes and verbs", 'OPTIONS experiments/create'),
        ],
        "400 -> 200": [
            ("routes and verbs", 'HEAD experiments/get ?experiment_id=0'),
        ],
    },
}

EXPECTED_DIFFERENCES = [
    Expected(script, call, difference, REASONS[reason])
    for reason, differences in _TABLE.items()
    for difference, calls in differences.items()
    for script, call in calls
]
