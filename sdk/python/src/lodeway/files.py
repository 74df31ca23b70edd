"""Files up and down in chunks, whatever their size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import grpc

from lodeway.artifacts.v1.artifact_service_pb2 import (
    Artifact,
    DownloadArtifactRequest,
    UploadArtifactRequest,
    UploadOpening,
)
from lodeway.errors import LodewayError, translated
from lodeway.retry import Retry

if TYPE_CHECKING:
    from lodeway.artifacts.v1.artifact_service_pb2_grpc import ArtifactServiceStub

# The most that one message may carry is 1 MiB.
_CHUNK_BYTES = 1 << 20


def upload(stub: ArtifactServiceStub, source: Path, location: str, path: str) -> Artifact:
    """Sends a file in one call."""
    with source.open("rb") as file:
        opening = UploadOpening(location=location, path=path, size_bytes=os.fstat(file.fileno()).st_size)
        return stub.UploadArtifact(_messages(opening, file)).artifact


def _messages(opening: UploadOpening, file: BinaryIO) -> Iterator[UploadArtifactRequest]:
    yield UploadArtifactRequest(open=opening)
    while chunk := file.read(_CHUNK_BYTES):
        yield UploadArtifactRequest(chunk=chunk)


def download(stub: ArtifactServiceStub, location: str, path: str, target: Path, retry: Retry) -> Artifact:
    """Receives a file in as many calls as the connection breaks, beside the target, then puts it in place."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            receiver = _Receiver(stub, location, path, file)
            attempts = retry.attempts()
            while True:
                before = receiver.received
                try:
                    artifact = receiver.receive()
                    break
                except LodewayError as error:
                    if receiver.received > before:
                        attempts.reset()
                    attempts.pause(error)
        part.replace(target)
        return artifact
    finally:
        part.unlink(missing_ok=True)


class _Receiver:
    """What has come of one file."""

    def __init__(self, stub: ArtifactServiceStub, location: str, path: str, file: BinaryIO) -> None:
        self.received = 0
        self._stub = stub
        self._request = DownloadArtifactRequest(location=location, path=path)
        self._file = file
        self._digest = hashlib.sha256()
        self._artifact: Artifact | None = None

    def receive(self) -> Artifact:
        """Goes on to the end of the file. Errors: `LodewayError`, ABORTED if the file was replaced meanwhile."""
        self._request.offset_bytes = self.received
        with translated():
            for message in self._stub.DownloadArtifact(self._request):
                if message.WhichOneof("kind") == "artifact":
                    self._describe(message.artifact)
                else:
                    self._file.write(message.chunk)
                    self._digest.update(message.chunk)
                    self.received += len(message.chunk)
        return self._checked()

    def _describe(self, artifact: Artifact) -> None:
        first, self._artifact = self._artifact, artifact
        if first is not None and (first.sha256, first.size_bytes) != (artifact.sha256, artifact.size_bytes):
            raise LodewayError(grpc.StatusCode.ABORTED, f"`{artifact.path}` was replaced while it was read")

    def _checked(self) -> Artifact:
        artifact = self._artifact
        if artifact is None or artifact.size_bytes != self.received:
            raise LodewayError(grpc.StatusCode.DATA_LOSS, f"the answer ended after {self.received} bytes")
        if artifact.sha256 and artifact.sha256 != self._digest.hexdigest():
            raise LodewayError(grpc.StatusCode.DATA_LOSS, f"`{artifact.path}` does not match its SHA-256")
        return artifact
