"""The last mlflow 2 client against the edge, in an environment of its own."""

import os
import subprocess
from pathlib import Path


def test_a_whole_session(platform):
    python = os.environ["LODEWAY_TEST_MLFLOW2_PYTHON"]
    # The newer client leaves the addresses that other modules chose in the environment.
    env = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    done = subprocess.run(
        [python, str(Path(__file__).parent / "mlflow2_session.py"), platform.url],
        capture_output=True,
        text=True,
        timeout=300,
        env=env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mlflow 2.22" in done.stdout
