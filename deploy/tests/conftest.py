"""What the checks of the deployment files stand on: helm, the binary, and rendered charts."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/lodeway"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
VALUES = sorted(p.stem for p in (DEPLOY / "tests/values").glob("*.yaml"))


def first_program(what: str, *candidates) -> str:
    for candidate in candidates:
        if candidate and (found := shutil.which(str(candidate))):
            return found
    pytest.fail(f"{what} is missing; `cargo xtask test --deploy` provides it")


def helm(*args: str, check: bool = True) -> subprocess.CompletedProcess:
    program = first_program("helm", os.environ.get("LODEWAY_TEST_HELM"), "helm", TARGET / "tools/helm")
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=60, check=check)


def render(name: str) -> str:
    """The chart with the values of one file, as manifests."""
    values = DEPLOY / f"tests/values/{name}.yaml"
    return helm("template", "demo", str(CHART), "--namespace", "ml", "--values", str(values)).stdout


def documents(name: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(render(name)) if document]


def workloads(name: str) -> list[tuple[str, dict]]:
    """Kind and name, and pod, of everything that runs containers."""
    kinds = ("Deployment", "StatefulSet", "Job")
    found = [d for d in documents(name) if d["kind"] in kinds]
    assert found
    return [(f"{d['kind']}/{d['metadata']['name']}", d["spec"]["template"]["spec"]) for d in found]


def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def lodeway(*args: str, env=None) -> subprocess.CompletedProcess:
    """One call of the binary with this environment and nothing else of ours."""
    program = first_program("the binary", os.environ.get("LODEWAY_BIN"), TARGET / "debug/lodeway")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LODEWAY_")}
    return subprocess.run(
        [program, *args], env={**inherited, **(env or {})}, capture_output=True, text=True, timeout=60
    )
