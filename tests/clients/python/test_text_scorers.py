"""Scores of texts without an LLM: classifiers and embedding models that the stock client logs, asked by evaluations."""

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from platform_process import Platform
from test_evaluation import lodeway
from test_serving import make, runtime_env

warnings.filterwarnings("ignore")

# Of everyday life, so that a linear model over words tells them apart.
KIND = [
    "thank you so much for your help", "what a lovely day it is", "I really like this answer", "have a nice evening",
    "the meeting starts at nine", "please send me the report", "the train was on time", "she wrote a good book",
    "we had dinner by the lake", "your garden looks beautiful", "the weather is fine today", "he fixed my bicycle",
]  # fmt: skip
RUDE = [
    "you are a stupid idiot", "shut up you moron", "I hate you, you idiot", "what a stupid moron he is",
    "get lost, you worthless fool", "you worthless piece of garbage", "nobody likes you, shut up", "stupid garbage answer",
    "you are a disgusting fool", "I hate this stupid garbage", "go away idiot, shut up", "he is a disgusting moron",
]  # fmt: skip
ANSWERS = [
    ("the report starts at nine", "the meeting starts at nine", "work"),
    ("you stupid idiot, shut up", "please send me the report", "work"),
    ("have a lovely evening", "have a nice evening", "home"),
    ("he is a worthless moron", "he fixed my bicycle", "home"),
    ("we had dinner by the lake", "we had dinner by the lake", "home"),
]


@pytest.fixture(scope="module")
def host():
    with Platform(env=runtime_env()) as running:
        yield running


@pytest.fixture(scope="module")
def models(host):
    """Registers classifiers in the forms in which models give scores, and an embedding model; gives the objects."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    mlflow.set_tracking_uri(host.url)
    mlflow.set_registry_uri(host.url)
    mlflow.set_experiment("text scorers")
    texts, labels = KIND + RUDE, [0] * len(KIND) + [1] * len(RUDE)
    # Letters alone, and their case kept: what an exported graph can do too, whatever languages the machine knows.
    words = TfidfVectorizer(token_pattern="[a-zA-Z]+", lowercase=False)
    classifier = make_pipeline(words, LogisticRegression(C=10)).fit(texts, labels)
    embedder = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)), TruncatedSVD(16, random_state=0)
    ).fit(texts)
    one_text = ModelSignature(Schema([ColSpec("string", "text")]))

    class Probabilities(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return classifier.predict_proba(model_input["text"])

    class Likeliest(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            both = classifier.predict_proba(model_input["text"])
            return pd.DataFrame({"label": [["ok", "toxic"][p.argmax()] for p in both], "score": both.max(axis=1)})

    class Everything(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            rows = zip(["ok", "toxic"], classifier.predict_proba(model_input["text"]).T)
            return pd.DataFrame(dict(rows))

    class Vectors(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            if model_input["text"].str.contains("unspeakable").any():
                raise ValueError("this cannot be said")
            return embedder.transform(model_input["text"])

    of_python = {"toxicity": Probabilities(), "likeliest": Likeliest(), "everything": Everything(), "vectors": Vectors()}
    for name, model in of_python.items():
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                name="model", python_model=model, signature=one_text, registered_model_name=name,
                pip_requirements=["scikit-learn"],
            )  # fmt: skip
    with mlflow.start_run():
        graph = to_onnx(
            classifier, initial_types=[("text", StringTensorType([None, 1]))], options={"zipmap": False}
        )
        mlflow.onnx.log_model(graph, name="model", signature=one_text, registered_model_name="graph")
    return classifier, embedder


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Rows of answers, enough for slices, as a file."""
    rows = pd.DataFrame(ANSWERS * 20, columns=["answer", "expected", "place"])
    file = tmp_path_factory.mktemp("answers") / "answers.parquet"
    rows.to_parquet(file)
    return rows, file


def evaluate(host, file, *args):
    columns = ["--data", str(file), "--answer", "answer", "--expected", "expected", "--output", "json"]
    done = lodeway(host, "evaluate", *columns, *args)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    report = json.loads(lodeway(host, "evaluation", "report", found["evaluation_id"]).stdout)
    return found, report


@pytest.mark.parametrize(
    "model",
    ["models:/toxicity/1", "models:/likeliest/1#toxic", "models:/everything/1#toxic", "models:/graph/1#1"],
)
def test_a_classifier_scores_answers_as_the_library_does(host, models, answers, model):
    classifier, _ = models
    rows, file = answers
    found, report = evaluate(host, file, "--classifier", f"toxicity={model}", "--slice", "place")
    said = classifier.predict_proba(rows["answer"])[:, 1]
    score = found["metrics"]["toxicity/score"]
    # ONNX Runtime computes in single precision.
    assert score["value"] == pytest.approx(said.mean(), rel=1e-5)
    assert score["low"] < score["value"] < score["high"] and score["samples"] == len(rows)
    of_scorer = report["scorers"]["toxicity"]
    name = re.search(r"models:/(\w+)/", model)[1]
    assert of_scorer["model"]["name"] == name and len(of_scorer["model"]["content_digest"]) == 64
    assert of_scorer["greater_is_better"] is False
    slices = {one["value"]: one["metrics"]["score"]["value"] for one in of_scorer["slices"]}
    for place in ["work", "home"]:
        want = said[rows["place"] == place].mean()
        assert slices[place] == pytest.approx(want, rel=1e-5)
    assert lodeway(host, "evaluation", "verify", found["evaluation_id"]).returncode == 0


def test_similarity_is_the_cosine_of_the_models_vectors_and_is_asked_once(host, models, answers):
    _, embedder = models
    rows, file = answers
    threshold = ["--threshold", "similarity/score[place=home]>=0.1", "--slice", "place"]
    found, report = evaluate(host, file, "--similarity", "models:/vectors/1", *threshold)
    one, other = (embedder.transform(rows[column]) for column in ["answer", "expected"])
    cosine = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert found["metrics"]["similarity/score"]["value"] == pytest.approx(cosine.mean(), rel=1e-5)
    assert found["verdict"]["passed"]
    distinct = len(set(rows["answer"]) | set(rows["expected"]))
    assert report["usage"]["calls"] == distinct
    again, repeated = evaluate(host, file, "--similarity", "models:/vectors/1", *threshold)
    assert repeated["usage"]["calls"] == 0 and repeated["usage"]["cached_calls"] > 0
    assert again["metrics"] == found["metrics"]


def test_a_text_on_which_the_model_fails_is_an_error_of_its_row(host, models, tmp_path):
    rows = pd.DataFrame({"answer": ["a lovely day", "the unspeakable", "a fine book"], "expected": ["a day"] * 3})
    rows.to_parquet(tmp_path / "rows.parquet")
    found, _ = evaluate(host, tmp_path / "rows.parquet", "--similarity", "models:/vectors/1")
    metrics = found["metrics"]
    assert (metrics["similarity/scored"]["value"], metrics["similarity/error"]["value"]) == (2, 1)
    assert metrics["similarity/coverage"]["value"] == pytest.approx(2 / 3)


def test_an_endpoint_may_score(host, models, answers, stubs):
    import grpc
    from lodeway.gateway.v1 import endpoint_service_pb2_grpc

    classifier, _ = models
    rows, file = answers
    with grpc.insecure_channel(host.target) as channel:
        stub = endpoint_service_pb2_grpc.EndpointServiceStub(channel)
        make(stub, "guard", ("models:/everything/1", 1))
    found, _ = evaluate(host, file, "--classifier", "toxicity=endpoint:guard#toxic")
    said = classifier.predict_proba(rows["answer"])[:, 1]
    assert found["metrics"]["toxicity/score"]["value"] == pytest.approx(said.mean(), rel=1e-5)


def test_what_cannot_score_is_told(host, models, answers):
    _, file = answers
    columns = ["--data", str(file), "--answer", "answer", "--expected", "expected"]
    missing = lodeway(host, "evaluate", *columns, "--classifier", "toxicity=models:/nobody/1")
    assert missing.returncode == 4 and "nobody" in missing.stderr
    # A label that the model does not have is an error of every row, and nothing is measured then.
    odd = lodeway(host, "evaluate", *columns, "--classifier", "toxicity=models:/everything/1#polite")
    assert odd.returncode == 7 and "about none of 100 rows" in odd.stderr and "polite" in odd.stderr
    unnamed = lodeway(host, "evaluate", *columns, "--classifier", "toxicity=file:/tmp")
    assert unnamed.returncode != 0 and "spec.scorers[0].classifier.model_uri" in unnamed.stderr
