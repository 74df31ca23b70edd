"""Trains models with the real libraries and writes down what they predict.

`python models.py FOLDER`: every case becomes a model file, its rows and the library's predictions in FOLDER, and an
entry of `cases.json` that names them. Numbers are little-endian, row-major.
"""

import json
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import xgboost

ROWS = 4000
FEATURES = 8
CATEGORIES = 40

folder = Path(sys.argv[1])
cases = []


def table(seed, categorical=False, missing=0.1):
    """Rows of normal, integer, constant-ridden and categorical columns, with holes."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(ROWS, FEATURES)) * 10.0 ** np.arange(-3, FEATURES - 3)
    rows[:, 1] = random.integers(-3, 4, ROWS)
    rows[:, 2] = np.where(random.random(ROWS) < 0.7, 0.0, rows[:, 2])
    if categorical:
        rows[:, 3] = random.integers(0, 3, ROWS)
        rows[:, 4] = random.integers(0, CATEGORIES, ROWS)
    rows[random.random(rows.shape) < missing] = np.nan
    signal = np.nan_to_num(rows[:, 0] * 1000 + rows[:, 1] - np.abs(rows[:, 5] / 100))
    if categorical:
        signal += 3 * np.sin(np.nan_to_num(rows[:, 4]) ** 2)
    return rows, signal + random.normal(size=ROWS)


def strange(rows, categorical=False):
    """Rows as training never saw them: all missing, zeros of either sign, values next to zero, unknown categories."""
    more = rows[:200].copy()
    more[:20] = np.nan
    more[20:40] = 0.0
    more[40:60] = -0.0
    more[60:80] *= 1e30
    more[80:100] = 1e-36
    more[100:120] = -1e-36
    more[120:140] = 1e-30
    more[140:160, :] = np.round(more[140:160, :])
    if categorical:
        more[:, 3] = np.resize([-1.0, -0.5, 0.0, 2.0, 2.7, 3.0, 500.0, 1e9, np.nan], len(more))
        more[:, 4] = np.resize([-2.0, 1.5, 38.0, 39.0, 40.0, 64.0, 20e6, 1e12], len(more))
    return np.concatenate([rows, more])


def array(name, values, dtype):
    values = np.ascontiguousarray(values, dtype=dtype)
    (folder / name).write_bytes(values.tobytes())
    return name


def case(name, files, rows, value, margin, dtype, iterations=None, exact=True, feature_names=None, **more):
    number = "<f4" if dtype == np.float32 else "<f8"
    cases.append({
        "name": name,
        "files": files,
        "columns": rows.shape[1],
        "rows": array(f"{name}.rows", rows, "<f4" if rows.dtype == np.float32 else "<f8"),
        "row_bits": 32 if rows.dtype == np.float32 else 64,
        "value": array(f"{name}.value", value, number),
        "margin": array(f"{name}.margin", margin, number),
        "iterations": iterations,
        "exact": exact,
        "feature_names": feature_names,
        **more,
    })


# --- XGBoost -------------------------------------------------------------------------------------------------------

def labels_for(objective, signal, seed=0):
    if objective.startswith(("binary", "reg:logistic")):
        return (signal > 0).astype(float)
    if objective.startswith("multi"):
        return np.digitize(signal, [-2.0, 0.0, 2.0])
    if objective.startswith("rank"):
        return np.digitize(signal, [-2.0, 0.0, 2.0])
    if objective in ("count:poisson", "reg:gamma", "reg:tweedie", "reg:squaredlogerror"):
        return np.exp(signal / 5) + 0.1
    return signal


def xgb(name, objective, rows=None, labels=None, rounds=25, categorical=False, single=True, seed=1, **params):
    if rows is None:
        rows, signal = table(seed, categorical)
        labels = labels_for(objective, signal)
    if single:
        rows = rows.astype(np.float32)
    types = None
    if categorical:
        types = ["c" if column in (3, 4) else "float" for column in range(FEATURES)]
    options = dict(objective=objective, max_depth=6, learning_rate=0.3, nthread=1, seed=seed) | params
    if objective.startswith("multi"):
        options["num_class"] = 4
    train = xgboost.DMatrix(rows, labels, feature_types=types)
    if objective.startswith("rank"):
        train.set_group([20] * (ROWS // 20))
    booster = xgboost.train(options, train, rounds)
    files = []
    for ending in ("ubj", "json"):
        booster.save_model(folder / f"{name}.{ending}")
        files.append(f"{name}.{ending}")
    score = strange(rows, categorical)
    # The model is scored as it comes back from the file, for that is what everybody else gets.
    loaded = xgboost.Booster(model_file=folder / f"{name}.ubj")
    data = xgboost.DMatrix(score, feature_types=types)
    value, margin = loaded.predict(data), loaded.predict(data, output_margin=True)
    case(name, files, score, value, margin, np.float32)
    half = rounds // 2
    case(
        f"{name}-some-iterations", files, score,
        loaded.predict(data, iteration_range=(2, half)),
        loaded.predict(data, iteration_range=(2, half), output_margin=True),
        np.float32, iterations=[2, half],
    )
    return booster


def all_xgboost():
    for objective in (
        "reg:squarederror", "reg:squaredlogerror", "reg:logistic", "reg:pseudohubererror", "reg:absoluteerror",
        "count:poisson", "reg:gamma", "reg:tweedie", "binary:logistic", "binary:logitraw", "binary:hinge",
        "multi:softmax", "multi:softprob", "rank:ndcg", "rank:pairwise", "rank:map",
    ):
        name = "xgb-" + objective.replace(":", "-")
        if objective == "rank:map":
            rows, signal = table(1)
            xgb(name, objective, rows, (signal > 0).astype(float))
        else:
            xgb(name, objective)
    for method in ("exact", "approx", "hist"):
        xgb(f"xgb-{method}", "binary:logistic", tree_method=method)
    xgb("xgb-quantile", "reg:quantileerror", quantile_alpha=0.3)
    xgb("xgb-quantiles", "reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9])
    xgb("xgb-double", "reg:squarederror", single=False)
    xgb("xgb-deep", "reg:squarederror", grow_policy="lossguide", max_leaves=200, min_child_weight=0)
    xgb("xgb-forest", "binary:logistic", num_parallel_tree=4, subsample=0.6)
    xgb("xgb-forest-multi", "multi:softprob", num_parallel_tree=3, subsample=0.6, rounds=8)
    xgb("xgb-base", "binary:logistic", base_score=0.2)
    xgb("xgb-base-count", "count:poisson", base_score=3.5)
    xgb("xgb-base-gamma", "reg:gamma", base_score=2.0)
    xgb("xgb-stumps", "reg:squarederror", rounds=100, **{"gamma": 3000.0})
    xgb("xgb-dart", "binary:logistic", booster="dart", rate_drop=0.3)
    xgb("xgb-dart-multi", "multi:softprob", booster="dart", rate_drop=0.3)
    for limit in (1, 4, 100):
        xgb(f"xgb-categories-{limit}", "binary:logistic", categorical=True, max_cat_to_onehot=limit)
    xgb("xgb-categories-multi", "multi:softprob", categorical=True, max_cat_to_onehot=2)
    rows, signal = table(5)
    xgb("xgb-targets", "reg:squarederror", rows, np.stack([signal, -signal, signal**2], axis=1))
    xgb("xgb-labels", "binary:logistic", rows, np.stack([signal > 0, signal > 1], axis=1).astype(float))
    frame_of_xgboost()
    early_stopping()


def frame_of_xgboost():
    """A data frame with names and categories of strings and numbers."""
    rows, signal = table(3, missing=0.0)
    random = np.random.default_rng(3)
    frame = pd.DataFrame(rows[:, :3], columns=["first", "second one", "dritte, größte"])
    frame["colour"] = pd.Categorical(random.choice(["red", "green", "", "blue"], ROWS))
    frame["size"] = pd.Categorical(random.choice([10, 20, 30], ROWS))
    frame["farbe"] = pd.Categorical(random.choice(["rot", "grün"], ROWS))  # saved damaged by XGBoost
    model = xgboost.XGBClassifier(n_estimators=10, enable_categorical=True, n_jobs=1)
    model.fit(frame, (signal + 4 * (frame["colour"] == "red") > 0).astype(int))
    model.save_model(folder / "xgb-frame.ubj")
    model.save_model(folder / "xgb-frame.json")
    codes = frame.copy()
    for name in ("colour", "size", "farbe"):
        codes[name] = frame[name].cat.codes.astype(float)
    booster = model.get_booster()
    data = xgboost.DMatrix(frame, enable_categorical=True)
    case(
        "xgb-frame", ["xgb-frame.ubj", "xgb-frame.json"], codes.to_numpy(dtype=np.float32),
        booster.predict(data), booster.predict(data, output_margin=True), np.float32,
        feature_names=list(frame.columns),
        categories={"3": list(frame["colour"].cat.categories), "4": [10, 20, 30]},
    )


def early_stopping():
    rows, signal = table(4)
    rows, labels = rows.astype(np.float32), (signal > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=300, early_stopping_rounds=5, learning_rate=0.5, n_jobs=1)
    model.fit(rows[:2000], labels[:2000], eval_set=[(rows[2000:], labels[2000:])], verbose=False)
    for ending in ("ubj", "json"):
        model.save_model(folder / f"xgb-early.{ending}")
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    case(
        "xgb-early", ["xgb-early.ubj", "xgb-early.json"], rows,
        model.predict_proba(rows)[:, 1], model.predict(rows, output_margin=True), np.float32,
        iterations=[0, model.best_iteration + 1], best_iteration=model.best_iteration,
    )


# --- LightGBM ------------------------------------------------------------------------------------------------------

def lgb(name, objective, rows=None, labels=None, rounds=25, categorical=False, seed=1, zeros=False, **params):
    if rows is None:
        rows, signal = table(seed, categorical)
        labels = lightgbm_labels(objective, signal)
    options = dict(objective=objective, num_leaves=40, num_threads=1, seed=seed, verbose=-1) | params
    if objective in ("multiclass", "multiclassova"):
        options["num_class"] = 4
    group = [20] * (ROWS // 20) if objective in ("lambdarank", "rank_xendcg") else None
    columns = [3, 4] if categorical else "auto"
    data = lightgbm.Dataset(rows, labels, group=group, categorical_feature=columns)
    lightgbm.train(options, data, rounds).save_model(folder / f"{name}.lgb")
    loaded = lightgbm.Booster(model_file=folder / f"{name}.lgb")
    score = strange(rows, categorical)
    if zeros:
        score[:, 5] = 0.0
    case(
        name, [f"{name}.lgb"], score, loaded.predict(score), loaded.predict(score, raw_score=True), np.float64,
    )
    half = rounds // 2
    if loaded.current_iteration() < half:  # nothing to learn
        return
    case(
        f"{name}-some-iterations", [f"{name}.lgb"], score,
        loaded.predict(score, start_iteration=2, num_iteration=half - 2),
        loaded.predict(score, start_iteration=2, num_iteration=half - 2, raw_score=True),
        np.float64, iterations=[2, half],
    )


def lightgbm_labels(objective, signal):
    if objective in ("binary",):
        return (signal > 0).astype(float)
    if objective.startswith(("multiclass", "lambdarank", "rank")):
        return np.digitize(signal, [-2.0, 0.0, 2.0])
    if objective.startswith("cross_entropy"):
        return 1 / (1 + np.exp(-signal))
    if objective in ("poisson", "gamma", "tweedie"):
        return np.exp(signal / 5) + 0.1
    return signal


def all_lightgbm():
    for objective in (
        "regression", "regression_l1", "huber", "fair", "quantile", "mape", "poisson", "gamma", "tweedie", "binary",
        "multiclass", "multiclassova", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg",
    ):
        lgb(f"lgb-{objective}", objective)
    lgb("lgb-sqrt", "regression", reg_sqrt=True)
    lgb("lgb-sqrt-l1", "regression_l1", reg_sqrt=True)
    lgb("lgb-sigmoid", "binary", sigmoid=0.7)
    lgb("lgb-sigmoid-ova", "multiclassova", sigmoid=2.5)
    lgb("lgb-zero-missing", "binary", zero_as_missing=True)
    lgb("lgb-zero-missing-zeros", "binary", zero_as_missing=True, zeros=True)
    lgb("lgb-no-missing", "binary", use_missing=False)
    rows, signal = table(2, missing=0.0)
    lgb("lgb-none-missing", "regression", rows, signal)
    lgb("lgb-forest", "binary", boosting="rf", bagging_freq=1, bagging_fraction=0.6)
    lgb("lgb-forest-multi", "multiclass", boosting="rf", bagging_freq=1, bagging_fraction=0.6, rounds=8)
    lgb("lgb-dart", "binary", boosting="dart")
    lgb("lgb-goss", "binary", data_sample_strategy="goss")
    lgb("lgb-deep", "regression", min_data_in_leaf=1, num_leaves=300)
    lgb("lgb-constant", "regression", rows, np.full(ROWS, 3.25))
    lgb("lgb-categories", "binary", categorical=True, min_data_per_group=5, cat_smooth=1)
    lgb("lgb-categories-one", "binary", categorical=True, max_cat_to_onehot=100)
    lgb("lgb-categories-multi", "multiclass", categorical=True, min_data_per_group=5, cat_smooth=1)
    frame_of_lightgbm()


def frame_of_lightgbm():
    rows, signal = table(3, missing=0.0)
    random = np.random.default_rng(3)
    frame = pd.DataFrame(rows[:, :3], columns=["first", "second", "größte"])
    frame["colour"] = pd.Categorical(random.choice(["red", "grün", "blue"], ROWS))
    frame["size"] = pd.Categorical(random.choice([10, 20, 30], ROWS))
    labels = (signal + 4 * (frame["colour"] == "red") > 0).astype(int)
    booster = lightgbm.train(dict(objective="binary", verbose=-1, num_threads=1), lightgbm.Dataset(frame, labels), 10)
    booster.save_model(folder / "lgb-frame.lgb")
    codes = frame.copy()
    for name in ("colour", "size"):
        codes[name] = frame[name].cat.codes.astype(float)
    case(
        "lgb-frame", ["lgb-frame.lgb"], codes.to_numpy(dtype=np.float64), booster.predict(frame),
        booster.predict(frame, raw_score=True), np.float64, feature_names=list(frame.columns),
        categories={"3": list(frame["colour"].cat.categories), "4": [10, 20, 30]},
    )


if __name__ == "__main__":
    all_xgboost()
    all_lightgbm()
    (folder / "cases.json").write_text(json.dumps(cases))
    print(f"xgboost {xgboost.__version__}, lightgbm {lightgbm.__version__}: {len(cases)} cases")
