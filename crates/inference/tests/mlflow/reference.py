"""Reads documents and writes answers with mlflow's own scoring server, for comparison.

One JSON object comes in: {"documents": [{"type", "body", "inputs"}], "answers": [[{"name", "dtype", "shape", "data"}]]}.
One goes out, with a description of what mlflow made of each.
"""

import io
import json
import logging
import os
import sys
import types
import warnings

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
logging.disable(logging.WARNING)

from mlflow.models.utils import _enforce_schema  # noqa: E402
from mlflow.pyfunc.scoring_server import _parse_json_data, parse_csv_input, predictions_to_json  # noqa: E402
from mlflow.types import Schema  # noqa: E402

DATATYPES = {
    "bool": "BOOL",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}


class Strange(Exception):
    """Values that have no packed form."""


def value(one):
    if one is None or (isinstance(one, float) and np.isnan(one)) or one is pd.NaT or one is pd.NA:
        return None
    if isinstance(one, float):
        return repr(one)
    if isinstance(one, (bool, int)):
        return one
    if isinstance(one, str):
        return one.encode().hex()
    if isinstance(one, bytes):
        return one.hex()
    if isinstance(one, pd.Timestamp):
        return one.isoformat().encode().hex()
    raise Strange(type(one).__name__)


def tensor(name, array):
    raw = array.tolist() if isinstance(array, pd.Series) else array.reshape(-1).tolist()
    values = [value(one) for one in raw]
    datatype = DATATYPES.get(str(array.dtype))
    if datatype is None:
        kinds = {type(one) for one, known in zip(raw, values) if known is not None}
        if kinds == {bool}:
            datatype = "BOOL"
        elif kinds <= {str, bytes, pd.Timestamp}:
            datatype = "BYTES"
        else:
            raise Strange(str(kinds))
    return {"name": str(name), "datatype": datatype, "shape": list(array.shape), "values": values}


def describe(data):
    if isinstance(data, pd.DataFrame):
        return {"kind": "frame", "values": [tensor(name, data[name]) for name in data.columns]}
    if isinstance(data, dict):
        return {"kind": "tensors", "values": [tensor(name, np.asarray(one)) for name, one in data.items()]}
    return {"kind": "tensors", "values": [tensor("", np.asarray(data))]}


def read(document):
    schema = Schema.from_json(document["inputs"]) if document["inputs"] else None
    try:
        if document["type"] == "text/csv":
            data = parse_csv_input(io.StringIO(document["body"]), schema)
        else:
            parsed = _parse_json_data(document["body"].encode(), types.SimpleNamespace(), schema)
            if parsed.is_unified_llm_input:
                return {"kind": "llm"}
            data = parsed.data
        if schema is not None:
            data = _enforce_schema(data, schema)
    except Exception as error:
        return {"kind": "refused", "why": f"{type(error).__name__}: {error}"[:300]}
    try:
        return describe(data)
    except Exception as error:
        return {"kind": "objects", "why": f"{type(error).__name__}: {error}"[:300]}


def write(tensors):
    arrays = {
        one["name"]: np.frombuffer(bytes.fromhex(one["data"]), one["dtype"]).reshape(one["shape"]) for one in tensors
    }
    out = io.StringIO()
    predictions_to_json(arrays if len(arrays) > 1 else next(iter(arrays.values())), out)
    return out.getvalue()


given = json.load(sys.stdin)
json.dump(
    {
        "documents": [read(document) for document in given["documents"]],
        "answers": [write(tensors) for tensors in given["answers"]],
    },
    sys.stdout,
)
