"""A writer of metrics that goes on over broken connections, and loses and doubles nothing."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import grpc

from lodeway.errors import LodewayError, translated
from lodeway.retry import Attempts, Retry
from lodeway.tracking.v1.metric_pb2 import Metric
from lodeway.tracking.v1.tracking_service_pb2 import StreamBatch, StreamMetricsRequest, StreamMetricsResponse, StreamOpening

if TYPE_CHECKING:
    from lodeway.tracking.v1.tracking_service_pb2_grpc import TrackingServiceStub

# The most points that the contract allows in a batch.
_BATCH_POINTS = 1_000
# Points that may wait for the platform before `log` does.
_MAX_WAITING = 256_000


class MetricStream:
    """Metrics of one run, sent in the background in the order in which they were logged.

    Points are kept until the platform says that they are durable. After a broken connection the stream opens again
    under its own id, learns what had arrived, and sends the rest. `flush` waits until everything is durable; leaving a
    `with` block does so too. It may be shared by threads.
    """

    def __init__(self, stub: TrackingServiceStub, run_id: str, retry: Retry | None = None) -> None:
        self.run_id = run_id
        #: Which writer this is, a UUID; other writers of the same run have others.
        self.stream_id = str(uuid.uuid4())
        self._stub = stub
        self._retry = retry or Retry()
        self._changed = threading.Condition()
        # All below is guarded by `_changed`.
        self._waiting: deque[Metric] = deque()
        self._sent: deque[StreamBatch] = deque()
        self._points_sent = 0
        self._last_sequence = 0
        self._durable_sequence = 0
        self._closing = False
        self._failure: LodewayError | None = None
        self._thread = threading.Thread(target=self._work, name=f"metrics of {run_id}", daemon=True)
        self._thread.start()

    @property
    def durable_sequence(self) -> int:
        """The last batch that is known to be durable; 0: none yet."""
        with self._changed:
            return self._durable_sequence

    def log(self, metrics: Mapping[str, float], step: int = 0, time_ms: int | None = None) -> None:
        """Adds values by key at one step; `time_ms` since the epoch, none: now. Waits only if too much is on its way.

        Errors: `LodewayError` of the stream, if it ended.
        """
        now = time.time_ns() // 1_000_000 if time_ms is None else time_ms
        points = []
        for key, value in metrics.items():
            metric = Metric(key=key, value=value, step=step)
            metric.time.FromMilliseconds(now)
            points.append(metric)
        self.write(points)

    def write(self, points: Sequence[Metric]) -> None:
        """Adds points of one's own; each needs its time, so that sending it again is the same point.

        Errors: as `log`; `ValueError` for a point without a time or after `close`.
        """
        if any(not metric.HasField("time") for metric in points):
            raise ValueError("a point of a stream needs its time")
        with self._changed:
            if self._closing:
                raise ValueError("the stream is closed")
            self._changed.wait_for(
                lambda: self._failure or len(self._waiting) + self._points_sent < _MAX_WAITING
            )
            self._raise_failure()
            self._waiting.extend(points)
            self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> None:
        """Waits until every point so far is durable. Errors: `LodewayError`; `TimeoutError` after `timeout` seconds."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._failure or not (self._waiting or self._sent), timeout)
            self._raise_failure()
            if not done:
                raise TimeoutError(f"{len(self._waiting) + self._points_sent} points are not yet durable")

    def close(self) -> None:
        """Waits until every point is durable and ends the stream. Errors: `LodewayError`."""
        try:
            self.flush()
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join()

    def __enter__(self) -> MetricStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _work(self) -> None:
        attempts = self._retry.attempts()
        while True:
            try:
                self._connect(attempts)
                return
            except LodewayError as error:
                try:
                    attempts.pause(error)
                except LodewayError as last:
                    self._fail(last)
                    return

    def _fail(self, error: LodewayError) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def _connect(self, attempts: Attempts) -> None:
        """One connection, until the stream is closed. Errors: why it broke."""
        connection = _Connection()
        try:
            with translated():
                for answer in self._stub.StreamMetrics(self._requests(connection)):
                    self._acknowledge(connection, answer)
                    attempts.reset()
        finally:
            with self._changed:
                connection.over = True
                self._changed.notify_all()
        with self._changed:
            if not self._closing:
                raise LodewayError(grpc.StatusCode.UNAVAILABLE, "the platform ended the stream")

    def _acknowledge(self, connection: _Connection, answer: StreamMetricsResponse) -> None:
        with self._changed:
            durable = answer.durable_sequence
            if durable < self._durable_sequence:
                message = f"batch {self._durable_sequence} was durable, and now only {durable} is"
                raise LodewayError(grpc.StatusCode.DATA_LOSS, message)
            self._durable_sequence = durable
            while self._sent and self._sent[0].sequence <= durable:
                self._points_sent -= len(self._sent.popleft().metrics)
            if not connection.is_open:
                connection.is_open = True
                connection.next_sequence = durable + 1
            self._changed.notify_all()

    def _requests(self, connection: _Connection) -> Iterator[StreamMetricsRequest]:
        """What one connection sends: the opening, then batches from the first that is not durable."""
        yield StreamMetricsRequest(open=StreamOpening(run_id=self.run_id, stream_id=self.stream_id))
        while batch := self._next_batch(connection):
            yield StreamMetricsRequest(batch=batch)

    def _next_batch(self, connection: _Connection) -> StreamBatch | None:
        with self._changed:
            while not connection.over:
                batch = self._batch_at(connection.next_sequence) if connection.is_open else None
                if batch:
                    connection.next_sequence += 1
                    return batch
                if self._closing:
                    return None
                self._changed.wait()
            return None

    def _batch_at(self, sequence: int) -> StreamBatch | None:
        if self._sent and sequence <= self._last_sequence:
            return self._sent[sequence - self._sent[0].sequence]
        if not self._waiting:
            return None
        count = min(len(self._waiting), _BATCH_POINTS)
        points = [self._waiting.popleft() for _ in range(count)]
        self._last_sequence += 1
        batch = StreamBatch(sequence=self._last_sequence, metrics=points)
        self._sent.append(batch)
        self._points_sent += count
        return batch


class _Connection:
    """Where one connection of a stream is; guarded by the stream's lock."""

    def __init__(self) -> None:
        self.is_open = False
        self.over = False
        self.next_sequence = 0
