"""Strangers without our package: plain grpcio stubs, a client that only asks reflection, health, gRPC-web, buf."""

import json
import os
import shutil
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICES = [
    "lodeway.artifacts.v1.ArtifactService",
    "lodeway.registry.v1.RegistryService",
    "lodeway.tracking.v1.TrackingService",
]


@pytest.fixture
def channel(platform):
    with grpc.insecure_channel(platform.target) as opened:
        yield opened


def test_plain_stubs_track_a_run(stubs, channel):
    from lodeway.tracking.v1 import metric_pb2, run_pb2, tracking_service_pb2, tracking_service_pb2_grpc

    tracking = tracking_service_pb2_grpc.TrackingServiceStub(channel)
    name = f"team/{uuid.uuid4().hex}"
    created = tracking.CreateExperiment(tracking_service_pb2.CreateExperimentRequest(name=name)).experiment
    run = tracking.CreateRun(
        tracking_service_pb2.CreateRunRequest(experiment_id=created.experiment_id, tags={"team": "a"})
    ).run
    assert run.status == run_pb2.RUN_STATUS_RUNNING
    request = tracking_service_pb2.LogBatchRequest(
        run_id=run.run_id,
        metrics=[metric_pb2.Metric(key="acc", value=0.9, step=1)],
        params=[metric_pb2.Param(key="lr", value="0.1")],
        request_id=str(uuid.uuid4()),
    )
    for _ in range(2):
        tracking.LogBatch(request)
    found = tracking.SearchRuns(
        tracking_service_pb2.SearchRunsRequest(
            experiment_ids=[created.experiment_id], filter="metrics.acc > 0.8 AND params.lr = '0.1'"
        )
    ).runs
    assert [r.run_id for r in found] == [run.run_id]
    points = tracking.ListMetricHistory(
        tracking_service_pb2.ListMetricHistoryRequest(run_id=run.run_id, metric_key="acc")
    ).metrics
    assert [(p.step, p.value) for p in points] == [(1, 0.9)]


def test_a_request_id_with_another_body_is_refused(stubs, channel):
    from lodeway.tracking.v1 import tracking_service_pb2, tracking_service_pb2_grpc

    tracking = tracking_service_pb2_grpc.TrackingServiceStub(channel)
    first = tracking_service_pb2.CreateExperimentRequest(name=uuid.uuid4().hex, request_id=str(uuid.uuid4()))
    other = tracking_service_pb2.CreateExperimentRequest(name=uuid.uuid4().hex, request_id=first.request_id)
    once = tracking.CreateExperiment(first).experiment.experiment_id
    assert tracking.CreateExperiment(first).experiment.experiment_id == once
    with pytest.raises(grpc.RpcError) as caught:
        tracking.CreateExperiment(other)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    assert b"REQUEST_ID_REUSED" in details


def test_plain_stubs_stream_files(stubs, channel):
    from lodeway.artifacts.v1 import artifact_service_pb2 as a
    from lodeway.artifacts.v1 import artifact_service_pb2_grpc

    artifacts = artifact_service_pb2_grpc.ArtifactServiceStub(channel)
    location = f"mlflow-artifacts:/0/{uuid.uuid4().hex}"
    chunks = [b"a" * 1000, b"b" * 500]
    messages = [a.UploadArtifactRequest(open=a.UploadOpening(location=location, path="f"))]
    messages += [a.UploadArtifactRequest(chunk=chunk) for chunk in chunks]
    assert artifacts.UploadArtifact(iter(messages)).artifact.size_bytes == 1500
    request = a.DownloadArtifactRequest(location=location, path="f", offset_bytes=900, length_bytes=200)
    head, *rest = artifacts.DownloadArtifact(request)
    assert head.artifact.size_bytes == 1500
    assert b"".join(m.chunk for m in rest) == b"".join(chunks)[900:1100]


def test_health_of_the_process_and_of_each_service(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ["", *SERVICES]:
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_command_line_asks_health(platform):
    from platform_process import free_port, lodeway

    for service in [[], *([s] for s in SERVICES)]:
        assert "SERVING" in lodeway("health", *service, url=platform.url).stdout
    assert lodeway("health", "no.such.Service", url=platform.url, check=False).returncode == 3
    assert lodeway("health", url=f"http://127.0.0.1:{free_port()}", check=False).returncode == 6


def test_reflection_is_enough_to_call(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    listed = set(database.get_services())
    assert set(SERVICES) <= listed and "grpc.health.v1.Health" in listed
    pool = DescriptorPool(database)
    method = pool.FindServiceByName(SERVICES[2]).methods_by_name["GetExperiment"]
    ask, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = channel.unary_unary(
        f"/{SERVICES[2]}/GetExperiment",
        request_serializer=ask.SerializeToString,
        response_deserializer=answer.FromString,
    )
    assert call(ask(experiment_id="0")).experiment.name == "Default"


def grpc_web(platform, method: str, message: bytes) -> tuple[bytes, dict[str, str]]:
    """One gRPC-web call over HTTP/1.1: the message of the answer, and its trailers."""
    request = urllib.request.Request(
        f"{platform.url}/{method}",
        data=b"\0" + struct.pack(">I", len(message)) + message,
        headers={"content-type": "application/grpc-web+proto", "x-grpc-web": "1"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.headers["content-type"].startswith("application/grpc-web")
        headers, body = dict(reply.headers), reply.read()
    trailers = {k.lower(): v for k, v in headers.items() if k.lower().startswith("grpc-")}
    payload = b""
    while body:
        flags, size = body[0], struct.unpack(">I", body[1:5])[0]
        frame, body = body[5 : 5 + size], body[5 + size :]
        if flags & 0x80:
            trailers |= dict(line.split(":", 1) for line in frame.decode().split("\r\n") if line)
        else:
            payload += frame
    return payload, trailers


def test_grpc_web_over_http_1(stubs, platform):
    from lodeway.tracking.v1 import tracking_service_pb2 as t

    ask = t.GetExperimentRequest(experiment_id="0").SerializeToString()
    payload, trailers = grpc_web(platform, f"{SERVICES[2]}/GetExperiment", ask)
    assert trailers["grpc-status"].strip() == "0"
    assert t.GetExperimentResponse.FromString(payload).experiment.name == "Default"
    ask = t.GetExperimentRequest(experiment_id="987654321").SerializeToString()
    payload, trailers = grpc_web(platform, f"{SERVICES[2]}/GetExperiment", ask)
    assert payload == b"" and trailers["grpc-status"].strip() == "5"


def buf(platform, method: str, body: dict, schema=()) -> subprocess.CompletedProcess:
    """One `buf curl`; without a schema the server's reflection is asked."""
    program = Path(sys.prefix) / "bin/buf"
    return subprocess.run(
        [program if program.exists() else shutil.which("buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
        + [*schema, "-d", json.dumps(body), f"{platform.url}/{method}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "HOME": os.environ.get("HOME", "/tmp")},
    )


TRACKING, REGISTRY, ARTIFACTS = SERVICES[2], SERVICES[1], SERVICES[0]

# One line a family of RPCs: method, request, what the answer must hold.
BUF_CALLS = [
    (f"{TRACKING}/GetExperiment", {"experiment_id": "0"}, "Default"),
    (f"{TRACKING}/SearchExperiments", {"filter": "name = 'Default'"}, "Default"),
    (f"{TRACKING}/CreateRun", {"experiment_id": "0", "name": "by-buf"}, "by-buf"),
    (f"{TRACKING}/SearchRuns", {"experiment_ids": ["0"], "page_size": 1}, "{"),
    (f"{TRACKING}/CreateLoggedModel", {"experiment_id": "0", "name": "by-buf"}, "by-buf"),
    (f"{TRACKING}/SearchLoggedModels", {"experiment_ids": ["0"]}, "{"),
    (f"{TRACKING}/SearchDatasets", {"experiment_ids": ["0"]}, "{"),
    (f"{TRACKING}/Purge", {"dry_run": True}, "{"),
    (f"{REGISTRY}/SearchRegisteredModels", {}, "{"),
    (f"{REGISTRY}/SearchModelVersions", {}, "{"),
    (f"{REGISTRY}/ListTransitions", {"page_size": 5}, "{"),
    (f"{ARTIFACTS}/ListArtifacts", {"location": "mlflow-artifacts:/0"}, "{"),
    (f"{ARTIFACTS}/DeleteArtifacts", {"location": "mlflow-artifacts:/0/none", "dry_run": True}, "{"),
]


@pytest.mark.parametrize(("method", "body", "holds"), BUF_CALLS, ids=[c[0].rsplit("/", 1)[1] for c in BUF_CALLS])
def test_buf_curl_needs_no_file_of_ours(platform, method, body, holds):
    done = buf(platform, method, body)
    assert done.returncode == 0, done.stderr
    assert holds in done.stdout


def test_buf_curl_shows_why(platform):
    done = buf(platform, f"{TRACKING}/SearchRuns", {"experiment_ids": ["0"], "filter": "metrics.a ="})
    assert done.returncode != 0
    failure = json.loads(done.stderr)
    assert failure["code"] == "invalid_argument"
    assert any("ErrorInfo" in detail["type"] for detail in failure["details"])
