"""The thin client of sdk/python against the real binary."""

import filecmp
import hashlib
import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import grpc
import pytest
from platform_process import ROOT, Platform, free_port, wait_for

SOURCE = ROOT / "sdk/python/src"


@pytest.fixture(scope="module")
def sdk():
    """The package as it is in the tree, whatever other tests imported under the same name."""
    for name in [n for n in sys.modules if n == "lodeway" or n.startswith("lodeway.")]:
        del sys.modules[name]
    sys.path.insert(0, str(SOURCE))
    import lodeway

    assert Path(lodeway.__file__).parent == SOURCE / "lodeway"
    yield lodeway
    sys.path.remove(str(SOURCE))


@pytest.fixture
def client(sdk, platform):
    with sdk.Client(platform.url) as connected:
        yield connected


def new_run(client) -> str:
    from lodeway.tracking.v1 import tracking_service_pb2 as t

    return client.tracking.CreateRun(t.CreateRunRequest(experiment_id="0")).run.run_id


def history(client, run_id: str, key: str) -> list[tuple[int, float]]:
    from lodeway import iterate
    from lodeway.tracking.v1 import metric_pb2 as m
    from lodeway.tracking.v1 import tracking_service_pb2 as t

    request = t.ListMetricHistoryRequest(
        run_id=run_id, metric_key=key, order=m.METRIC_ORDER_STEP, page_size=700
    )
    return [(p.step, p.value) for p in iterate(client.tracking.ListMetricHistory, request)]


def test_log_batch_records_everything(client):
    from lodeway.tracking.v1 import tracking_service_pb2 as t

    run_id = new_run(client)
    client.log_batch(run_id, {"loss": 0.5, "nan": float("nan")}, {"lr": 0.1}, {"team": "a"}, step=3)
    run = client.tracking.GetRun(t.GetRunRequest(run_id=run_id)).run
    assert run.params == {"lr": "0.1"} and run.tags["team"] == "a"
    latest = {m.key: m for m in run.metrics}
    assert (latest["loss"].value, latest["loss"].step) == (0.5, 3)
    assert latest["nan"].value != latest["nan"].value


def test_iterate_gives_every_page_and_leaves_the_request_alone(client):
    from lodeway import iterate
    from lodeway.tracking.v1 import tracking_service_pb2 as t

    tag = uuid.uuid4().hex
    names = {f"{tag}/{i}" for i in range(7)}
    for name in names:
        client.tracking.CreateExperiment(t.CreateExperimentRequest(name=name, tags={"of": tag}))
    request = t.SearchExperimentsRequest(filter=f"tags.of = '{tag}'", page_size=3)
    assert {e.name for e in iterate(client.tracking.SearchExperiments, request)} == names
    assert request.page_token == ""


def test_registry_promotes_and_rolls_back(client):
    from lodeway.registry.v1 import model_version_pb2 as v
    from lodeway.registry.v1 import registry_service_pb2 as r

    name = f"sdk-{uuid.uuid4().hex}"
    client.registry.CreateRegisteredModel(r.CreateRegisteredModelRequest(name=name))
    client.registry.CreateModelVersion(
        r.CreateModelVersionRequest(name=name, source=f"runs:/{new_run(client)}/model")
    )
    moved = client.registry.TransitionModelVersion(
        r.TransitionModelVersionRequest(name=name, version=1, stage=v.STAGE_PRODUCTION, comment="good")
    )
    found = client.registry.ResolveModel(r.ResolveModelRequest(uri=f"models:/{name}/Production"))
    assert found.model_version.version == 1
    client.registry.RollbackTransition(
        r.RollbackTransitionRequest(transition_id=moved.transitions[0].transition_id)
    )
    again = client.registry.GetModelVersion(r.GetModelVersionRequest(name=name, version=1)).model_version
    assert again.stage == v.STAGE_NONE


def test_files_go_up_and_down(client, tmp_path):
    data = os.urandom(5 << 20)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    location = f"mlflow-artifacts:/0/{uuid.uuid4().hex}"
    stored = client.upload_file(source, location, "a/b.bin")
    assert (stored.size_bytes, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    client.download_file(location, "a/b.bin", target)
    assert target.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_an_empty_file_is_a_file(client, tmp_path):
    (tmp_path / "empty").touch()
    location = f"mlflow-artifacts:/0/{uuid.uuid4().hex}"
    assert client.upload_file(tmp_path / "empty", location, "e").size_bytes == 0
    client.download_file(location, "e", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == b""


def test_a_failed_download_leaves_no_file(client, sdk, tmp_path):
    with pytest.raises(sdk.LodewayError) as caught:
        client.download_file(f"mlflow-artifacts:/0/{uuid.uuid4().hex}", "none", tmp_path / "t")
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert list(tmp_path.iterdir()) == []


def test_errors_are_parsed(client, sdk):
    from lodeway.common.v1 import error_reason_pb2 as reasons
    from lodeway.tracking.v1 import tracking_service_pb2 as t

    with pytest.raises(sdk.LodewayError) as caught:
        client.log_batch(new_run(client), {"bad*key": 1.0})
    bad = caught.value
    assert (bad.code, bad.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert bad.domain == "tracking.lodeway.dev"
    assert [v.field for v in bad.violations] == ["metrics[0].key"]
    assert f"ERROR_REASON_{bad.reason}" in reasons.ErrorReason.keys()

    with pytest.raises(sdk.LodewayError) as caught:
        list(sdk.iterate(client.tracking.SearchRuns, t.SearchRunsRequest(experiment_ids=["0"], filter="a ==")))
    assert caught.value.reason == "INVALID_FILTER"

    with pytest.raises(sdk.LodewayError) as caught:
        client.log_batch("0" * 32, {"loss": 1.0})
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert caught.value.metadata["resource_name"] == "0" * 32


def test_nobody_there_is_an_error_after_the_time_given(sdk):
    from lodeway.retry import Retry

    with sdk.Client(f"http://127.0.0.1:{free_port()}", retry=Retry(total=0.3)) as client:
        with pytest.raises(sdk.LodewayError) as caught:
            client.log_batch("a" * 32, {"loss": 1.0})
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE and caught.value.reason == ""


@pytest.mark.parametrize("address", ["ftp://host", "http://", "http://host/path"])
def test_an_address_that_is_none_is_refused(sdk, address):
    with pytest.raises(ValueError, match="no address"):
        sdk.Client(address)


def test_the_environment_says_where_and_who(sdk, platform, monkeypatch):
    monkeypatch.setenv("LODEWAY_ADDRESS", platform.url)
    monkeypatch.setenv("LODEWAY_WORKSPACE", "No/Such")
    with sdk.Client() as client, pytest.raises(grpc.RpcError) as caught:
        new_run(client)
    refused = sdk.LodewayError.of(caught.value)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_batch_finds_a_platform_that_comes_late(sdk, tmp_path):
    with Platform(data_dir=tmp_path / "d") as first, sdk.Client(first.url) as client:
        run_id = new_run(client)
        first.kill()
        writer = threading.Thread(target=client.log_batch, args=(run_id, {"loss": 1.0}))
        writer.start()
        with Platform(data_dir=tmp_path / "d", port=first.port):
            writer.join(30)
            assert not writer.is_alive()
            assert history(client, run_id, "loss") == [(0, 1.0)]


def test_a_metric_stream_is_complete_and_in_order(client):
    run_id = new_run(client)
    with client.metric_stream(run_id) as stream:
        for step in range(5_000):
            stream.log({"loss": 1 / (step + 1)}, step)
    assert stream.durable_sequence > 0
    assert history(client, run_id, "loss") == [(s, 1 / (s + 1)) for s in range(5_000)]


def test_two_writers_of_one_run_do_not_disturb_each_other(client):
    run_id = new_run(client)
    with client.metric_stream(run_id) as one, client.metric_stream(run_id) as two:
        for step in range(500):
            one.log({"rank0": step}, step)
            two.log({"rank1": step}, step)
    for key in ("rank0", "rank1"):
        assert history(client, run_id, key) == [(s, s) for s in range(500)]


def test_a_stream_that_is_refused_says_why(client, sdk):
    with pytest.raises(sdk.LodewayError) as caught:
        with client.metric_stream("f" * 32) as stream:
            stream.log({"loss": 1.0})
    assert caught.value.code is grpc.StatusCode.NOT_FOUND


def test_a_metric_stream_resumes_after_kill_9(sdk, tmp_path):
    """Killed twice in the middle: what was logged before, between and after is there once."""
    with Platform(data_dir=tmp_path / "d") as first, sdk.Client(first.url) as client:
        run_id = new_run(client)
        stream = client.metric_stream(run_id)
        written = 0

        def write(count):
            nonlocal written
            for _ in range(count):
                stream.log({"loss": float(written)}, written)
                written += 1

        write(3_000)
        wait_for(lambda: stream.durable_sequence > 0, "the first acknowledgement")
        write(3_000)
        first.kill()
        write(1_000)
        with Platform(data_dir=tmp_path / "d", port=first.port) as second:
            before = stream.durable_sequence
            write(3_000)
            wait_for(lambda: stream.durable_sequence > before, "an acknowledgement after the restart")
            second.kill()
            with Platform(data_dir=tmp_path / "d", port=first.port):
                write(10)
                stream.close()
                assert history(client, run_id, "loss") == [(s, float(s)) for s in range(written)]


def test_committed_stubs_are_what_the_contract_generates():
    fresh = Path(os.environ.get("LODEWAY_TEST_FRESH_STUBS") or ROOT / "target/sdk-check")
    assert fresh.is_dir(), "run `cargo xtask test --clients`"
    generated = sorted(p.relative_to(fresh) for p in fresh.rglob("*") if p.is_file())
    assert len(generated) > 40
    same, different, missing = filecmp.cmpfiles(fresh, SOURCE, generated, shallow=False)
    assert (different, missing) == ([], []), "run `cargo xtask sdk` and commit what it writes"
    committed = {p.relative_to(SOURCE) for p in SOURCE.rglob("*_pb2*.py*") if "__pycache__" not in p.parts}
    assert committed <= set(generated)


SAMPLE = """
import lodeway
from lodeway.tracking.v1.run_pb2 import Run
from lodeway.tracking.v1.tracking_service_pb2 import CreateRunRequest


def start() -> Run:
    with lodeway.Client() as client:
        run = client.tracking.CreateRun(CreateRunRequest(experiment_id="0")).run
        with client.metric_stream(run.run_id) as stream:
            stream.log({"loss": 0.5}, step=1)
        return run
"""


@pytest.mark.parametrize(("line", "fault"), [("", None), ("start().run_id + 1", "operator"), ("start().nme", "attr-defined")])
def test_type_checkers_know_the_client_and_the_stubs(tmp_path, line, fault):
    sample = tmp_path / "sample.py"
    sample.write_text(f"{SAMPLE}\n{line}\n")
    # Typed stubs once took a type checker gigabytes: bounded, so that it shows here and not on a user's machine.
    done = subprocess.run(
        ["bash", "-c", 'ulimit -v 4000000; exec "$@"', "mypy", sys.executable, "-m", "mypy", "--strict", sample],
        env={**os.environ, "MYPYPATH": str(SOURCE), "MYPY_CACHE_DIR": str(ROOT / "target/mypy")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if fault is None:
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        assert done.returncode == 1 and f"[{fault}]" in done.stdout, done.stdout + done.stderr
