"""The chart: lint, golden files, Kubernetes' own schemas, and the promises that no schema knows.

After a wanted change of the chart, `LODEWAY_TEST_GOLDEN=update` writes the golden files anew.
"""

import os

import kubernetes_validate
import pytest
from conftest import CHART, DEPLOY, VALUES, documents, helm, render, workloads

# The oldest version that the chart allows, and the newest whose schemas are at hand.
KUBERNETES = ["1.30", kubernetes_validate.latest_version()]
# Definitions of operators, which Kubernetes' schemas do not hold.
FOREIGN = {"monitoring.coreos.com/v1"}
SERVICES = {
    "artifacts": "lodeway.artifacts.v1.ArtifactService",
    "tracking": "lodeway.tracking.v1.TrackingService",
    "registry": "lodeway.registry.v1.RegistryService",
    "serving": "lodeway.serving.v1.DeploymentService",
    "evaluation": "lodeway.evaluation.v1.EvaluationService",
    "gateway": None,
}


@pytest.mark.parametrize("name", VALUES)
def test_lint_finds_nothing(name):
    done = helm("lint", "--strict", str(CHART), "--values", str(DEPLOY / f"tests/values/{name}.yaml"), check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", VALUES)
def test_manifests_are_the_golden_ones(name):
    golden = DEPLOY / f"tests/golden/{name}.yaml"
    rendered = render(name)
    if os.environ.get("LODEWAY_TEST_GOLDEN") == "update":
        golden.write_text(rendered)
    assert rendered == golden.read_text(), f"{golden} differs; see the head of {__file__}"


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", VALUES)
def test_manifests_fit_the_schemas_of_kubernetes(name, version):
    checked = 0
    for document in documents(name):
        if document["apiVersion"] in FOREIGN:
            continue
        kubernetes_validate.validate(document, version, strict=True)
        checked += 1
    assert checked >= 3


def test_a_schema_error_is_found():
    document = next(d for d in documents("split") if d["kind"] == "Deployment")
    document["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["grpc"]["prot"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize("name", VALUES)
def test_every_container_has_no_rights(name):
    for what, pod in workloads(name):
        assert pod["automountServiceAccountToken"] is False, what
        assert pod["securityContext"]["runAsNonRoot"] is True, what
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, what
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, what
            assert context["allowPrivilegeEscalation"] is False, what
            assert context["capabilities"] == {"drop": ["ALL"]}, what
            assert container["resources"]["limits"]["memory"], what
            written = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
            assert written == {"/data", "/tmp"}, what


@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_adds_no_variable_that_reads_as_configuration(name):
    for what, pod in workloads(name):
        assert pod["enableServiceLinks"] is False, what


@pytest.mark.parametrize("name", ["split", "split-full"])
def test_each_service_is_a_deployment_probed_by_its_own_health(name):
    pods = {what.rsplit("-", 1)[1]: pod for what, pod in workloads(name) if what.startswith("Deployment/")}
    assert set(pods) == set(SERVICES)
    for component, service in SERVICES.items():
        container = pods[component]["containers"][0]
        assert container["args"] == ["serve", component]
        for probe in ("startupProbe", "readinessProbe"):
            assert container[probe]["grpc"].get("service") == service
        assert container["livenessProbe"]["grpc"]["port"] == container["ports"][0]["containerPort"]


@pytest.mark.parametrize("name", VALUES)
def test_ports_are_named_so_that_meshes_see_grpc(name):
    services = [d for d in documents(name) if d["kind"] == "Service"]
    assert services
    for service in services:
        port = service["spec"]["ports"][0]
        assert (port["name"], port["appProtocol"]) == ("grpc", "kubernetes.io/h2c")


@pytest.mark.parametrize("name", VALUES)
def test_every_reference_inside_the_release_leads_somewhere(name):
    found = documents(name)
    named = {(d["kind"], d["metadata"]["name"]) for d in found}
    services = {d["metadata"]["name"]: d["spec"] for d in found if d["kind"] == "Service"}
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in found if d["kind"] in ("Deployment", "StatefulSet")]
    for what, selector in services.items():
        assert sum(selector["selector"].items() <= pod.items() for pod in labels) == 1, what
    for document in found:
        if document["kind"] == "HorizontalPodAutoscaler":
            target = document["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) in named
        if document["kind"] == "Ingress":
            for rule in document["spec"]["rules"]:
                backend = rule["http"]["paths"][0]["backend"]["service"]
                assert backend["port"]["name"] in {p["name"] for p in services[backend["name"]]["ports"]}
    for what, pod in workloads(name):
        account = pod.get("serviceAccountName")
        assert account is None or ("ServiceAccount", account) in named, what
        for variable in pod["containers"][0]["env"]:
            if variable["name"].startswith("LODEWAY_PEERS__"):
                host, port = variable["value"].removeprefix("http://").split(":")
                assert int(port) in {p["port"] for p in services[host]["ports"]}, what


def test_secrets_are_named_and_never_written():
    for name in VALUES:
        assert all(d["kind"] != "Secret" for d in documents(name))
        for what, pod in workloads(name):
            for variable in pod["containers"][0]["env"]:
                if any(word in variable["name"] for word in ("STORE__URL", "PEER_TOKEN", "SECRET")):
                    assert "secretKeyRef" in variable["valueFrom"], (what, variable)


def test_only_the_artifact_service_gets_the_bucket():
    for what, pod in workloads("split"):
        holds = "envFrom" in pod["containers"][0]
        assert holds == what.endswith("-artifacts"), what


def test_an_autoscaled_deployment_leaves_its_replicas_alone():
    specs = {d["metadata"]["name"]: d["spec"] for d in documents("split-full") if d["kind"] == "Deployment"}
    assert "replicas" not in specs["demo-lodeway-gateway"]
    assert specs["demo-lodeway-tracking"]["replicas"] == 5


SPLIT = ["--set", "store.existingSecret=pg", "--set", "artifacts.url=s3://b"]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([], "store.existingSecret"),
        (SPLIT[:2], "artifacts.url"),
        ([*SPLIT, "--set", "auth.existingSecret=t"], "peerToken.existingSecret"),
        ([*SPLIT, "--set", "mode=embedded"], "store.existingSecret"),
        ([*SPLIT, "--set", "mode=both"], "mode"),
        ([*SPLIT, "--set", "services.trackin.replicas=2"], "trackin"),
        ([*SPLIT, "--set-string", "services.tracking.replicas=two"], "replicas"),
        ([*SPLIT, "--set", "artifacts.env.LODEWAY_LISTEN=x"], "LODEWAY_LISTEN"),
        ([*SPLIT, "--set", "artifacts.url=bucket"], "url"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(values, named):
    done = helm("template", "demo", str(CHART), *values, check=False)
    assert done.returncode != 0
    assert named in done.stderr
