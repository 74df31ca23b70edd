"""Makes the model folders that tests of the model host serve, and what the libraries themselves predict.

Usage: models.py FOLDER
"""

import json
import pathlib
import sys

import lightgbm
import mlflow
import numpy
import pandas
import xgboost

folder = pathlib.Path(sys.argv[1])
random = numpy.random.default_rng(7)
columns = ["a", "b", "c"]
rows = pandas.DataFrame(random.normal(size=(400, 3)), columns=columns)
target = rows["a"] * 2.0 - rows["b"] * rows["c"]
inputs = rows.head(20)


def save(name, module, model, predictions):
    signature = mlflow.models.infer_signature(inputs, predictions)
    module.save_model(model, folder / name, signature=signature, input_example=inputs.head(3))
    expected = {"inputs": inputs.to_numpy().tolist(), "predictions": numpy.asarray(predictions).tolist()}
    (folder / f"{name}.json").write_text(json.dumps(expected))


booster = lightgbm.train(
    {"objective": "regression", "num_threads": 1, "verbose": -1, "seed": 1},
    lightgbm.Dataset(rows, target),
    num_boost_round=20,
)
save("lightgbm", mlflow.lightgbm, booster, booster.predict(inputs))

classifier = xgboost.XGBClassifier(n_estimators=15, max_depth=3, n_jobs=1, random_state=1)
classifier.fit(rows, (target > 0).astype(int))
save("xgboost", mlflow.xgboost, classifier, classifier.predict(inputs))
