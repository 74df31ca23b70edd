"""Datasets through grpcio, with files as pandas and pyarrow write them, and through the command."""

import io
import json
import os
import subprocess
import uuid

import grpc
import numpy as np
import pandas as pd
import pytest
from platform_process import binary


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "age": random.integers(18, 90, size=5_000),
            "spend": random.normal(50, 10, size=5_000),
            "plan": random.choice(["basic", "gold", "ü,\"x\""], size=5_000),
            "churned": random.choice([True, False], size=5_000),
        }
    )


@pytest.fixture(scope="module")
def api(stubs, platform):
    from lodeway.evaluation.v1 import dataset_service_pb2, dataset_service_pb2_grpc

    with grpc.insecure_channel(platform.target) as channel:
        yield dataset_service_pb2, dataset_service_pb2_grpc.DatasetServiceStub(channel)


def parquet(rows):
    out = io.BytesIO()
    rows.to_parquet(out)
    return out.getvalue()


def arrow(rows):
    out = io.BytesIO()
    rows.to_feather(out)
    return out.getvalue()


def csv(rows):
    return rows.to_csv(index=False).encode()


def json_lines(rows):
    return rows.to_json(orient="records", lines=True, double_precision=15).encode()


def upload(api, name, data, **header):
    messages, stub = api

    def parts():
        head = messages.DatasetVersionHeader(name=name, size_bytes=len(data), **header)
        yield messages.UploadDatasetVersionRequest(header=head)
        for start in range(0, len(data), 1 << 18):
            yield messages.UploadDatasetVersionRequest(chunk=data[start : start + (1 << 18)])

    return stub.UploadDatasetVersion(parts()).dataset_version


@pytest.mark.parametrize("written", [parquet, arrow, csv, json_lines])
def test_a_file_is_profiled_and_read_again(api, rows, written):
    messages, stub = api
    name = f"clients/{uuid.uuid4().hex}"
    made = upload(api, name, written(rows), roles={"target": "churned"})
    assert (made.version, made.row_count, made.roles.target) == (1, len(rows), "churned")
    columns = {column.name: column for column in made.columns}
    assert [columns[c].type for c in rows.columns] == ["int64", "double", "string", "boolean"]
    assert columns["age"].distinct_count == rows["age"].nunique()
    assert int(columns["age"].max) == rows["age"].max()
    assert columns["spend"].mean == pytest.approx(rows["spend"].mean(), rel=1e-9)
    assert columns["spend"].standard_deviation == pytest.approx(rows["spend"].std(ddof=0), rel=1e-9)
    assert columns["spend"].distinct_count == -1
    request = messages.ReadDatasetRequest(name=name, start_row=4_000, max_rows=900)
    read = [dict(row) for message in stub.ReadDataset(request) for row in message.rows]
    wanted = rows.iloc[4_000:4_900]
    assert [row["plan"] for row in read] == list(wanted["plan"])
    assert [row["churned"] for row in read] == list(wanted["churned"])
    assert np.allclose([row["spend"] for row in read], wanted["spend"], rtol=1e-12)


def test_the_digest_is_that_of_the_values(api, rows):
    name = f"clients/{uuid.uuid4().hex}"
    one, other = upload(api, name, parquet(rows)), upload(api, name, arrow(rows))
    assert (one.version, other.version) == (1, 2)
    assert one.data_digest == other.data_digest
    assert one.file_digest != other.file_digest
    changed = rows.copy()
    changed.loc[4_999, "age"] += 1
    assert upload(api, name, parquet(changed)).data_digest != one.data_digest


@pytest.mark.parametrize(
    "data, names",
    [
        (lambda rows: parquet(rows)[:-100], "table"),
        # its footer would be longer than the file
        (lambda rows: b"PAR1" + b"\xff" * 500 + b"PAR1", "table"),
        # a line with fewer fields is no fault: the rest is missing, as pandas reads it
        (lambda rows: csv(rows) + b"1,2,3,4,5\n", "row 5000"),
        (lambda rows: json_lines(rows) + b'{"age": \n', "row 5000"),
        (lambda rows: arrow(rows)[:1_000], "table"),
    ],
)
def test_a_broken_file_is_refused_and_leaves_nothing(api, rows, data, names):
    messages, stub = api
    name = f"clients/{uuid.uuid4().hex}"
    with pytest.raises(grpc.RpcError) as refused:
        upload(api, name, data(rows))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert names in refused.value.details()
    with pytest.raises(grpc.RpcError) as absent:
        stub.GetDataset(messages.GetDatasetRequest(name=name))
    assert absent.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_file_of_a_run_is_registered(api, rows, mlflow_here, tmp_path):
    messages, stub = api
    rows.to_parquet(tmp_path / "held_out.parquet")
    with mlflow_here.start_run() as run:
        mlflow_here.log_artifact(tmp_path / "held_out.parquet", "data")
    name = f"clients/{uuid.uuid4().hex}"
    uri = f"runs:/{run.info.run_id}/data/held_out.parquet"
    request = messages.RegisterDatasetVersionRequest(header={"name": name}, uri=uri)
    made = stub.RegisterDatasetVersion(request).dataset_version
    assert (made.row_count, made.source) == (len(rows), uri)


def test_the_command(platform, rows, tmp_path):
    def lodeway(*args):
        env = {k: v for k, v in os.environ.items() if not k.startswith("LODEWAY_")}
        command = [binary(), "dataset", *args, "--address", platform.url, "--output", "json"]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    name = f"clients/{uuid.uuid4().hex}"
    (tmp_path / "a.csv").write_bytes(csv(rows))
    made = lodeway("upload", name, str(tmp_path / "a.csv"), "--target", "churned")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["row_count"] == len(rows)
    assert len(json.loads(lodeway("show", f"{name}@1").stdout)["columns"]) == 4
    lines = lodeway("read", name, "--limit", "3", "--column", "plan").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"plan": plan} for plan in rows["plan"][:3]]
    (tmp_path / "cases.jsonl").write_text('{"q": "why", "n": 1}\n{"q": "how", "n": 2}\n')
    golden = f"{name}/golden"
    assert json.loads(lodeway("add", golden, str(tmp_path / "cases.jsonl")).stdout)["pending_records"] == 2
    assert json.loads(lodeway("publish", golden, "--prompt", "q").stdout)["row_count"] == 2
    assert lodeway("publish", golden).returncode == 4
    assert lodeway("delete", name).returncode == 0
    assert lodeway("show", name).returncode == 3
