"""Starts the real `lodeway` binary for tests and tools, and stops it."""

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def binary() -> str:
    """The binary under test: LODEWAY_BIN, else the debug build."""
    return os.environ.get("LODEWAY_BIN") or str(ROOT / "target/debug/lodeway")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what: str, seconds: float = 20.0):
    """Calls `condition` until it gives something true; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        if got := condition():
            return got
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


class Platform:
    """One `lodeway` process on a free port with a data folder of its own."""

    def __init__(self, *args: str, command=("up",), data_dir=None, port=None, env=None):
        self.port = port or free_port()
        self._tmp = None if data_dir else tempfile.TemporaryDirectory(prefix="lodeway-test-")
        self.data_dir = Path(data_dir or self._tmp.name)
        self.url = f"http://127.0.0.1:{self.port}"
        self.target = f"127.0.0.1:{self.port}"
        self.log = self.data_dir.parent / f"{self.data_dir.name}.log"
        self._out = open(self.log, "ab")
        self.process = subprocess.Popen(
            [binary(), *command, "--listen", self.target, "--data-dir", str(self.data_dir), *args],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
        wait_for(self._ready, f"{self.url} (its log: {self.log})", 60)

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"lodeway ended with {self.process.returncode}: {self.log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=5) as reply:
                return reply.status == 200
        except OSError:
            return False

    def kill(self):
        """kill -9: nothing is said goodbye to."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._out.close()
        if self._tmp:
            self._tmp.cleanup()
            self.log.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def lodeway(*args: str, url: str, check: bool = True) -> subprocess.CompletedProcess:
    """One call of the command line against a running platform."""
    return subprocess.run(
        [binary(), *args],
        env={**os.environ, "LODEWAY_ADDRESS": url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=check,
    )
