"""Writes cases of every classic metric, with what scikit-learn says, as JSON lines below the folder given.

NaN is written as null; a metric that raises is left out, except where the test wants to know (`raises`).
"""

import json
import math
import pathlib
import sys
import warnings

import numpy as np
import sklearn
from sklearn import calibration, metrics

warnings.simplefilter("ignore")
# Checking the types of arguments takes longer than computing the metrics.
sklearn.set_config(skip_parameter_validation=True)
random = np.random.default_rng(20251125)


def number(value):
    value = float(value)
    return None if math.isnan(value) else value


def numbers(values):
    return ["inf" if math.isinf(v) else number(v) for v in np.asarray(values, dtype=float).ravel()]


def weights_of(rows):
    """None, ones, dyadic with zeros (sums are exact, so ties at one half happen), or anything."""
    kind = random.integers(5)
    if kind == 0:
        return random.integers(0, 5, rows) / 4.0
    if kind == 1:
        return random.exponential(size=rows)
    if kind == 2:
        return np.ones(rows)
    return None


def attempt(found, name, compute, **arguments):
    try:
        found[name] = number(compute(**arguments))
    except Exception:
        pass


def label_case():
    rows, classes = int(random.integers(1, 40)), int(random.integers(1, 7))
    labels = np.arange(classes) - int(random.integers(0, 2))
    if random.integers(3) == 0:
        labels = np.array(["a", "B", "é", "aa", "z", "10"], dtype=object)[:classes]
    y = random.choice(labels, rows)
    p = np.where(random.random(rows) < random.random(), y, random.choice(labels, rows))
    if random.integers(4) == 0:
        p = np.full(rows, labels[0], dtype=labels.dtype)
    w = weights_of(rows)
    found = {}
    a = {"y_true": y, "y_pred": p, "sample_weight": w}
    attempt(found, "accuracy", metrics.accuracy_score, **a)
    attempt(found, "balanced_accuracy", metrics.balanced_accuracy_score, **a)
    attempt(found, "matthews", metrics.matthews_corrcoef, **a)
    attempt(found, "cohen_kappa", metrics.cohen_kappa_score, y1=y, y2=p, sample_weight=w)
    present = sorted(set(y) | set(p))
    averages = [("micro", None), ("macro", None), ("weighted", None)] + [("binary", label) for label in present]
    for average, positive in averages:
        b = dict(a, average=average)
        if positive is not None:
            b["pos_label"] = positive
        name = average if positive is None else f"binary:{positive}"
        beta = float(random.choice([0.0, 0.5, 1.0, 2.0]))
        try:
            precision, recall, f, _ = metrics.precision_recall_fscore_support(beta=beta, **b)
        except Exception:
            continue
        found[f"precision {name}"], found[f"recall {name}"] = number(precision), number(recall)
        found[f"f {beta} {name}"] = number(f)
    try:
        matrix = numbers(metrics.confusion_matrix(y, p, sample_weight=w))
    except Exception:
        matrix = None
    return {
        "y": y.tolist(), "p": p.tolist(), "w": None if w is None else w.tolist(), "found": found,
        "matrix": matrix,
    }


def score_case():
    rows = int(random.integers(1, 60))
    y = (random.random(rows) < random.choice([0.0, 0.1, 0.5, 0.9, 1.0])).astype(int)
    s = np.clip(0.3 * y + random.random(rows) * 0.7, 0, 1)
    if random.integers(2) == 0:
        s = np.round(s * 8) / 8
    w = weights_of(rows)
    found, curves = {}, {}
    attempt(found, "roc_auc", metrics.roc_auc_score, y_true=y, y_score=s, sample_weight=w)
    attempt(found, "average_precision", metrics.average_precision_score, y_true=y, y_score=s, sample_weight=w)
    attempt(found, "log_loss", metrics.log_loss, y_true=y, y_pred=s, sample_weight=w, labels=[0, 1])
    if len(set(y)) == 2:
        attempt(found, "brier", metrics.brier_score_loss, y_true=y, y_proba=s, sample_weight=w)
    try:
        curves["roc"] = [numbers(c) for c in metrics.roc_curve(y, s, pos_label=1, sample_weight=w)]
        curves["pr"] = [numbers(c) for c in metrics.precision_recall_curve(y, s, pos_label=1, sample_weight=w)]
        if w is None:
            true, predicted = calibration.calibration_curve(y, s, pos_label=1, n_bins=7)
            curves["calibration"] = [numbers(true), numbers(predicted)]
    except Exception:
        pass
    return {"y": y.tolist(), "s": s.tolist(), "w": None if w is None else w.tolist(), "found": found,
            "curves": curves}


def class_case():
    rows, classes = int(random.integers(1, 40)), int(random.integers(3, 6))
    y = random.integers(0, classes, rows)
    if random.integers(3) > 0 and rows >= classes:
        y[:classes] = np.arange(classes)
    p = random.dirichlet(np.full(classes, random.choice([0.3, 1.0, 5.0])), rows)
    if random.integers(2) == 0:
        p = np.round(p * 8) + 1
    p = p / p.sum(axis=1, keepdims=True)
    w = weights_of(rows)
    labels = np.arange(classes)
    found = {}
    attempt(found, "log_loss", metrics.log_loss, y_true=y, y_pred=p, sample_weight=w, labels=labels)
    attempt(found, "brier", metrics.brier_score_loss, y_true=y, y_proba=p, sample_weight=w, labels=labels)
    for k in range(1, classes + 1):
        attempt(found, f"top {k}", metrics.top_k_accuracy_score, y_true=y, y_score=p, k=k, sample_weight=w,
                labels=labels)
    if len(set(y)) > 1:
        for multi in ["ovr", "ovo"]:
            for average in ["macro", "weighted"]:
                attempt(found, f"{multi} {average}", metrics.roc_auc_score, y_true=y, y_score=p, multi_class=multi,
                        average=average, sample_weight=w, labels=labels)
    return {"y": y.tolist(), "p": p.ravel().tolist(), "classes": classes,
            "w": None if w is None else w.tolist(), "found": found}


def regression_case():
    rows = int(random.integers(1, 40))
    kind = random.integers(5)
    if kind == 0:
        y, p = random.integers(-3, 4, rows).astype(float), random.integers(-3, 4, rows).astype(float)
    elif kind == 1:
        y, p = random.poisson(2.0, rows).astype(float), random.gamma(2.0, size=rows) + 0.01
    elif kind == 2:
        y = np.full(rows, 2.0)
        p = y + random.choice([0.0, 1.0, 0.5]) * random.integers(0, 2, rows)
    elif kind == 3:
        y = 1e6 + random.normal(size=rows)
        p = y + random.normal(size=rows)
    else:
        y = random.normal(size=rows) * 10.0 ** random.integers(-5, 6)
        p = y * random.normal(1.0, 0.3, rows)
    w = weights_of(rows)
    found = {}
    a = {"y_true": y, "y_pred": p, "sample_weight": w}
    attempt(found, "mae", metrics.mean_absolute_error, **a)
    attempt(found, "mse", metrics.mean_squared_error, **a)
    attempt(found, "rmse", metrics.root_mean_squared_error, **a)
    attempt(found, "r2", metrics.r2_score, **a)
    attempt(found, "mape", metrics.mean_absolute_percentage_error, **a)
    attempt(found, "max_error", metrics.max_error, y_true=y, y_pred=p)
    attempt(found, "median_absolute_error", metrics.median_absolute_error, **a)
    attempt(found, "explained_variance", metrics.explained_variance_score, **a)
    attempt(found, "mean_pinball_loss", metrics.mean_pinball_loss, alpha=0.3, **a)
    attempt(found, "mean_poisson_deviance", metrics.mean_poisson_deviance, **a)
    return {"y": y.tolist(), "p": p.tolist(), "w": None if w is None else w.tolist(), "found": found}


def ranking_case():
    queries, items = int(random.integers(1, 6)), int(random.integers(2, 12))
    y = random.integers(0, random.choice([2, 4]), (queries, items)).astype(float)
    s = np.round(random.random((queries, items)) * random.choice([4, 1000]))
    found = {}
    for k in [1, 3, 5, 20]:
        found[f"ndcg {k}"] = number(metrics.ndcg_score(y, s, k=k))
    found["ndcg"] = number(metrics.ndcg_score(y, s))
    binary = (y > 0).astype(int)
    distinct = s + np.arange(items) * 1e-6
    found["map"] = number(np.mean([
        metrics.average_precision_score(b, d) if b.any() else 0.0 for b, d in zip(binary, distinct)]))
    found["mrr"] = number(np.mean([
        1.0 / (1 + np.flatnonzero(b[np.argsort(-d)])[0]) if b.any() else 0.0 for b, d in zip(binary, distinct)]))
    return {"y": y.tolist(), "s": s.tolist(), "distinct": distinct.tolist(), "found": found}


KINDS = {
    "labels": (label_case, 1200),
    "scores": (score_case, 1500),
    "classes": (class_case, 600),
    "regression": (regression_case, 1500),
    "ranking": (ranking_case, 300),
}

folder = pathlib.Path(sys.argv[1])
for kind, (make, count) in KINDS.items():
    with open(folder / f"{kind}.jsonl", "w") as file:
        for _ in range(count):
            file.write(json.dumps(make()) + "\n")
version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
(folder / "version.json").write_text(json.dumps({"sklearn": version}))
print(f"scikit-learn {sklearn.__version__}, numpy {np.__version__}")
