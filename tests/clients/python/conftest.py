"""Fixtures: one platform for the tests that share it, a fresh one where a test stops or kills it."""

import os
import sys
from pathlib import Path

import pytest

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
sys.path.insert(0, str(Path(__file__).parent))

from platform_process import ROOT, Platform  # noqa: E402


@pytest.fixture(scope="session")
def platform():
    with Platform() as running:
        yield running


@pytest.fixture
def fresh_platform():
    with Platform() as running:
        yield running


@pytest.fixture
def mlflow_here(platform, monkeypatch):
    """The stock mlflow client, pointed at the shared platform."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", platform.url)
    mlflow.set_tracking_uri(platform.url)
    mlflow.set_registry_uri(platform.url)
    # The client keeps the experiment that other tests chose on another server.
    mlflow.set_experiment("Default")
    yield mlflow
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.autolog(disable=True)


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """Stubs generated from the contract by grpcio-tools, as a user would; gives the folder, which is on sys.path."""
    import grpc_tools
    from grpc_tools import protoc

    out = tmp_path_factory.mktemp("stubs")
    sources = [str(p.relative_to(ROOT / "proto")) for p in sorted((ROOT / "proto/lodeway").rglob("*.proto"))]
    failed = protoc.main(
        [
            "protoc",
            f"-I{ROOT / 'proto'}",
            # google/protobuf/*.proto; only the command line of grpc_tools adds these by itself
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            *sources,
        ]
    )
    assert failed == 0
    sys.path.insert(0, str(out))
    return out
