"""A connection to the platform, with a stub of each service."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc

from lodeway import files
from lodeway.artifacts.v1 import artifact_service_pb2_grpc
from lodeway.artifacts.v1.artifact_service_pb2 import Artifact
from lodeway.registry.v1 import registry_service_pb2_grpc
from lodeway.retry import Retry, retried
from lodeway.streaming import MetricStream
from lodeway.tracking.v1 import tracking_service_pb2_grpc
from lodeway.tracking.v1.metric_pb2 import Metric, Param
from lodeway.tracking.v1.tracking_service_pb2 import LogBatchRequest

if TYPE_CHECKING:
    from lodeway.artifacts.v1.artifact_service_pb2_grpc import ArtifactServiceStub
    from lodeway.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
    from lodeway.tracking.v1.tracking_service_pb2_grpc import TrackingServiceStub

DEFAULT_ADDRESS = "http://127.0.0.1:5000"
# A page of runs with all they recorded is larger than grpcio's default of 4 MiB.
_MAX_MESSAGE_BYTES = 512 << 20


class _Details(grpc.ClientCallDetails):
    """The details of a call, with other metadata."""

    def __init__(self, of: grpc.ClientCallDetails, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        self.method = of.method
        self.timeout = of.timeout
        self.credentials = of.credentials
        self.wait_for_ready = of.wait_for_ready
        self.compression = of.compression
        self.metadata = metadata


class _Identity(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Says with every call who makes it and in which workspace."""

    def __init__(self, metadata: Sequence[tuple[str, str]]) -> None:
        self._metadata = list(metadata)

    def _send(self, continuation, details, request):  # type: ignore[no-untyped-def]
        return continuation(_Details(details, (*(details.metadata or ()), *self._metadata)), request)

    intercept_unary_unary = _send
    intercept_unary_stream = _send
    intercept_stream_unary = _send
    intercept_stream_stream = _send


class Client:
    """A connection to the platform.

    The address is `http://host:port` or, for TLS with the machine's certificates, `https://host:port`. What is not said
    comes from `LODEWAY_ADDRESS`, `LODEWAY_TOKEN` and `LODEWAY_WORKSPACE`, then the address is the platform on this
    machine. Nothing is connected before the first call. A client may be shared by threads.
    """

    #: Experiments, runs, metrics, logged models.
    tracking: TrackingServiceStub
    #: Registered models, versions, stages, aliases.
    registry: RegistryServiceStub
    #: Files.
    artifacts: ArtifactServiceStub

    def __init__(
        self,
        address: str | None = None,
        token: str | None = None,
        workspace: str | None = None,
        retry: Retry | None = None,
    ) -> None:
        self.address = address or os.environ.get("LODEWAY_ADDRESS") or DEFAULT_ADDRESS
        self.retry = retry or Retry()
        token = token or os.environ.get("LODEWAY_TOKEN")
        workspace = workspace or os.environ.get("LODEWAY_WORKSPACE")
        metadata = [("authorization", f"Bearer {token}")] if token else []
        if workspace:
            metadata.append(("x-mlflow-workspace", workspace))
        self._base = _channel(self.address)
        #: The connection, for stubs of one's own.
        self.channel: grpc.Channel = grpc.intercept_channel(self._base, _Identity(metadata))
        self.tracking = tracking_service_pb2_grpc.TrackingServiceStub(self.channel)
        self.registry = registry_service_pb2_grpc.RegistryServiceStub(self.channel)
        self.artifacts = artifact_service_pb2_grpc.ArtifactServiceStub(self.channel)

    def close(self) -> None:
        """Ends the connection and every call on it."""
        self._base.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def log_batch(
        self,
        run_id: str,
        metrics: Mapping[str, float] | Sequence[Metric] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
    ) -> None:
        """Records metrics, params and tags of a run, all or nothing; durable when it returns.

        `metrics` are values by key at `step` and now, or points of one's own. Made again under the same request id while
        the platform does not answer, so nothing is recorded twice. Errors: `LodewayError`.
        """
        if isinstance(metrics, Mapping):
            now = time.time_ns() // 1_000_000
            points = [point(key, value, step, now) for key, value in metrics.items()]
        else:
            points = list(metrics)
        request = LogBatchRequest(
            run_id=run_id,
            metrics=points,
            params=[Param(key=key, value=str(value)) for key, value in (params or {}).items()],
            tags=dict(tags or {}),
            request_id=new_request_id(),
        )
        retried(self.retry, lambda: self.tracking.LogBatch(request))

    def metric_stream(self, run_id: str) -> MetricStream:
        """A writer of metrics that does not wait for an answer to each batch, and loses and doubles nothing."""
        return MetricStream(self.tracking, run_id, self.retry)

    def upload_file(self, source: str | Path, location: str, path: str) -> Artifact:
        """Writes a file of this machine to `path` below `location`; durable when it returns.

        Errors: `LodewayError`; `OSError` for the file.
        """
        return retried(self.retry, lambda: files.upload(self.artifacts, Path(source), location, path))

    def download_file(self, location: str, path: str, target: str | Path) -> Artifact:
        """Reads the file at `path` below `location` into a file of this machine, checked against its SHA-256.

        After a broken connection it goes on where it was. The target appears when it is complete, never before. Errors:
        `LodewayError`; `OSError` for the file.
        """
        return files.download(self.artifacts, location, path, Path(target), self.retry)


def point(key: str, value: float, step: int = 0, time_ms: int | None = None) -> Metric:
    """One point of a curve; `time_ms` since the epoch, none: now."""
    metric = Metric(key=key, value=value, step=step)
    metric.time.FromMilliseconds(time.time_ns() // 1_000_000 if time_ms is None else time_ms)
    return metric


def new_request_id() -> str:
    """An id under which a write can be repeated without a further effect."""
    return str(uuid.uuid4())


def _channel(address: str) -> grpc.Channel:
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"`{address}` is no address such as {DEFAULT_ADDRESS}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    target = f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    options = list(_options())
    if parts.scheme == "https":
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
    return grpc.insecure_channel(target, options)


def _options() -> Iterator[tuple[str, int]]:
    yield "grpc.max_receive_message_length", _MAX_MESSAGE_BYTES
    yield "grpc.max_send_message_length", _MAX_MESSAGE_BYTES
    # A peer that comes back is found soon; grpcio would wait up to two minutes.
    yield "grpc.initial_reconnect_backoff_ms", 100
    yield "grpc.min_reconnect_backoff_ms", 100
    yield "grpc.max_reconnect_backoff_ms", 2_000
    yield "grpc.keepalive_time_ms", 60_000
