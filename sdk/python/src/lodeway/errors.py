"""One error for every call that fails, with what the platform says about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

T = TypeVar("T")

_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Violation:
    """One field of a request that has a value that is not allowed."""

    #: The field, as a path: `metrics[3].key`.
    field: str
    #: What is wrong with it.
    description: str


class LodewayError(Exception):
    """A call that failed.

    The code says what the caller can do, the reason why; every value of the message stands in the metadata as well, so
    that nobody needs to parse prose.
    """

    #: The gRPC code.
    code: grpc.StatusCode
    #: For people: lower case, no full stop.
    message: str
    #: A name of `lodeway.common.v1.ErrorReason` without its prefix, for example `RUN_NOT_ACTIVE`; empty if the failure
    #: did not come from the platform.
    reason: str
    #: Who failed, for example `tracking.lodeway.dev`; empty as with `reason`.
    domain: str
    #: The values of the message by name.
    metadata: dict[str, str]
    #: Every bad field of the request.
    violations: list[Violation]
    #: How long to wait before the call may succeed, in seconds.
    retry_after: float | None
    #: True if this side gave up, for example because the connection was closed here.
    local: bool

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        domain: str = "",
        metadata: dict[str, str] | None = None,
        violations: list[Violation] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code.name}{f' ({reason})' if reason else ''}: {message}")
        self.code = code
        self.message = message
        self.reason = reason
        self.domain = domain
        self.metadata = metadata or {}
        self.violations = violations or []
        self.retry_after = retry_after
        self.local = False

    @classmethod
    def of(cls, error: grpc.RpcError) -> LodewayError:
        """What a failed call of grpcio says, with its details read."""
        if not isinstance(error, grpc.Call):
            return cls(grpc.StatusCode.UNKNOWN, str(error))
        parsed = cls(error.code(), error.details() or "")
        # grpcio's own words when a channel is closed or a call cancelled on this side.
        parsed.local = parsed.message in ("Channel closed!", "Locally cancelled by application!")
        for key, value in error.trailing_metadata() or ():
            if key == _DETAILS and isinstance(value, bytes):
                parsed._read(value)
        parsed.args = (str(cls(parsed.code, parsed.message, parsed.reason)),)
        return parsed

    def _read(self, details: bytes) -> None:
        status = status_pb2.Status()
        try:
            status.ParseFromString(details)
        except DecodeError:
            return
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            request = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                self.reason, self.domain, self.metadata = info.reason, info.domain, dict(info.metadata)
            elif detail.Unpack(request):
                self.violations = [Violation(v.field, v.description) for v in request.field_violations]
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToTimedelta().total_seconds()


@contextmanager
def translated() -> Iterator[None]:
    """Raises what grpcio raises as `LodewayError`."""
    try:
        yield
    except grpc.RpcError as error:
        raise LodewayError.of(error) from error


def call(method: Callable[[], T]) -> T:
    """The answer of one call. Errors: `LodewayError`."""
    with translated():
        return method()
