"""The last mlflow 2 client against the edge, in an environment of its own."""

import os
import subprocess
from pathlib import Path


def test_a_whole_session(platform):
    python = os.environ["LODEWAY_TEST_MLFLOW2_PYTHON"]
    done = subprocess.run(
        [python, str(Path(__file__).parent / "mlflow2_session.py"), platform.url],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mlflow 2.22" in done.stdout
