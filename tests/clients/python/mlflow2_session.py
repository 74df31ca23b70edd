"""A session of the mlflow 2.22 client; run by test_mlflow2_client.py in an environment of its own."""

import sys

import mlflow
import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

url = sys.argv[1]
mlflow.set_tracking_uri(url)
exp = mlflow.set_experiment("mlflow2/session").experiment_id
x, y = load_iris(return_X_y=True, as_frame=True)
mlflow.sklearn.autolog(log_models=False)
with mlflow.start_run(run_name="forest") as run:
    model = RandomForestClassifier(n_estimators=10, random_state=0).fit(x, y)
    mlflow.log_metric("extra", 2.0, step=7)
    mlflow.sklearn.log_model(model, "model", registered_model_name="mlflow2-forest", input_example=x.head(2))
    mlflow.log_text("hello", "notes/hello.txt")
client = mlflow.MlflowClient()
got = client.get_run(run.info.run_id)
assert got.data.params["n_estimators"] == "10", got.data.params
assert got.data.metrics["extra"] == 2.0
assert [f.path for f in client.list_artifacts(run.info.run_id, "notes")] == ["notes/hello.txt"]
client.transition_model_version_stage("mlflow2-forest", 1, "Staging")
client.set_registered_model_alias("mlflow2-forest", "best", 1)
for uri in ("models:/mlflow2-forest/1", "models:/mlflow2-forest/Staging", "models:/mlflow2-forest@best"):
    loaded = mlflow.pyfunc.load_model(uri)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
found = mlflow.search_runs([exp], "metrics.extra > 1 and params.n_estimators = '10'")
assert list(found["run_id"]) == [run.info.run_id]
print("mlflow", mlflow.__version__, "session done")
