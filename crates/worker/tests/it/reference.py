"""What MLflow itself answers, as JSON for the tests to compare with: `reference.py MODELS` prints one object."""

import json
import sys
import warnings
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.pyfunc import scoring_server

warnings.filterwarnings("ignore")
ROOT = Path(sys.argv[1])
COLUMNS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


def main():
    answers = mlflow.pyfunc.load_model(str(ROOT / "answers"))
    empty = pd.DataFrame({"x": [1]})
    forms = json.loads((ROOT / "forms.json").read_text())
    iris = mlflow.pyfunc.load_model(str(ROOT / "iris-proba"))
    rng = np.random.default_rng(7)
    rows = rng.uniform(0, 8, size=(500, 4))
    labels = mlflow.pyfunc.load_model(str(ROOT / "iris"))
    print(
        json.dumps(
            {
                "answers": {form: dump(answers.predict(empty, params={"form": form})) for form in forms},
                "rows": rows.tobytes().hex(),
                "proba": dump(iris.predict(pd.DataFrame(rows, columns=COLUMNS))),
                "documents": [
                    document(labels, *case) for case in json.loads((ROOT / "documents.json").read_text())
                ],
            }
        )
    )


def dump(value):
    if hasattr(value, "toarray"):
        value = value.toarray()
    is_array = isinstance(value, (np.ndarray, np.generic)) and not np.ma.is_masked(value)
    if is_array and value.dtype.kind in "biuf":
        # astype keeps values, tobytes orders them by rows
        plain = value.astype(value.dtype.newbyteorder("<"))
        return {"dtype": value.dtype.name, "shape": list(value.shape), "bytes": plain.tobytes().hex()}
    text = __import__("io").StringIO()
    try:
        scoring_server.predictions_to_json(value, text)
    except TypeError:
        return {"json": None}
    return {"json": text.getvalue()}


def document(model, content_type, body):
    try:
        result = scoring_server.invocations(
            body.encode(), content_type, model, model.metadata.get_input_schema()
        )
    except mlflow.MlflowException as error:
        return {"error": error.message}
    return {"status": result.status, "text": result.response}


main()
