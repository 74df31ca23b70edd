"""The binary knows every key and command that chart, compose file and image use."""

import re

import pytest
from conftest import DEPLOY, VALUES, compose, lodeway, workloads

# What stands in for a value that comes out of a Secret or the user's environment.
STAND_IN = {"LODEWAY_STORE__URL": "postgres://u:p@host/db", "LODEWAY_PEER_TOKEN": "t"}


def chart_environments() -> dict[str, tuple[list[str], dict[str, str]]]:
    found = {}
    for name in VALUES:
        for what, pod in workloads(name):
            container = pod["containers"][0]
            env = {v["name"]: v.get("value", STAND_IN.get(v["name"])) for v in container["env"]}
            found[f"{name}:{what}"] = (container["args"], env)
    return found


def compose_environments() -> dict[str, tuple[list[str], dict[str, str]]]:
    ours = {n: s for n, s in compose()["services"].items() if s["image"].startswith("lodeway")}
    return {
        name: (service["command"], {k: re.sub(r"\$\{.*?\}", "x", str(v)) for k, v in service["environment"].items()})
        for name, service in ours.items()
    }


def image_environment() -> dict[str, str]:
    return dict(re.findall(r"\b(LODEWAY_\w+)=(\S+)", (DEPLOY / "Dockerfile").read_text()))


@pytest.fixture(scope="session")
def environments():
    return {**chart_environments(), **compose_environments(), "image": (["up"], image_environment())}


def test_every_variable_is_a_key_with_a_value_that_fits(environments):
    seen = set()
    for what, (_, env) in environments.items():
        assert all(value is not None for value in env.values()), what
        key = tuple(sorted(env.items()))
        if key not in seen:
            seen.add(key)
            done = lodeway("config", env=env)
            assert done.returncode == 0, f"{what}: {done.stderr}"
    assert len(seen) > 5


def test_an_unknown_variable_is_refused_by_name():
    done = lodeway("config", env={"LODEWAY_PEERS__TRAKCING": "http://tracking:5000"})
    assert done.returncode != 0
    assert "LODEWAY_PEERS__TRAKCING" in done.stderr


def test_what_a_process_is_told_is_what_it_understands(environments):
    _, env = environments["split:Deployment/demo-lodeway-registry"]
    shown = lodeway("config", env=env).stdout
    assert 'listen = "0.0.0.0:5000"' in shown
    assert "http://demo-lodeway-tracking:5000" in shown
    assert "u:p@" not in shown


def test_every_command_exists(environments):
    help_texts = {verb: lodeway(verb, "--help").stdout for verb in ("up", "serve", "migrate", "config", "health")}
    offered = set(re.search(r"possible values: ([\w, ]+)", lodeway("serve", "-h").stdout)[1].split(", "))
    for what, (args, _) in environments.items():
        assert help_texts[args[0]], what
        assert set(args[1:]) <= offered, what
    for name, service in compose()["services"].items():
        test = service["healthcheck"]["test"]
        if "lodeway" in test[1]:
            assert test[1] == "/usr/local/bin/lodeway" and test[2] == "health", name
    assert "Usage: lodeway health" in help_texts["health"]
