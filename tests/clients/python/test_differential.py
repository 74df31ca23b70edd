"""The same calls on a real `mlflow server` and on Lodeway: what differs must be in the table of expected differences."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from differential.calls import Server
from differential.compare import differences
from differential.expected import EXPECTED_DIFFERENCES
from differential.scripts import SCRIPTS
from platform_process import Platform, free_port, wait_for


def answers(url: str, process: subprocess.Popen, log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"mlflow server ended with {process.returncode}: {log.read_text()[-4000:]}")
    try:
        with urllib.request.urlopen(url + "/health", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The address of an `mlflow server` of this environment, with one worker on SQLite."""
    home = tmp_path_factory.mktemp("mlflow-server")
    port = free_port()
    log = home / "log"
    command = [sys.prefix + "/bin/mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "artifacts")]
    with open(log, "wb") as out:
        # It starts workers of its own, so it gets a group that can be ended as a whole.
        process = subprocess.Popen(
            command,
            cwd=home,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(url, process, log), f"{url} (its log: {log})", 120)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def subject():
    """A platform that nobody else writes to."""
    with Platform() as running:
        yield running.url


@pytest.mark.parametrize("script", SCRIPTS)
def test_both_servers_answer_alike(script, reference, subject):
    theirs, ours = Server(reference), Server(subject)
    theirs.seen["u"] = ours.seen["u"] = f"u{list(SCRIPTS).index(script)}"
    expected = [entry for entry in EXPECTED_DIFFERENCES if entry.script == script]
    met, surprises = set(), []
    for call in SCRIPTS[script]:
        a, b = theirs.send(call), ours.send(call)
        for difference in differences(call, a, b, theirs.seen, ours.seen):
            known = [entry for entry in expected if entry.covers(call, difference)]
            met.update(map(id, known))
            if not known:
                surprises.append(f"{call.label()}\n    {difference}\n    mlflow: {a.body!s:.300}\n    here:   {b.body!s:.300}")
    gone = [entry for entry in expected if id(entry) not in met]
    assert not surprises, f"{len(surprises)} unexpected differences:\n" + "\n".join(surprises)
    assert not gone, f"differences that are no more; take them out of the table: {gone}"
