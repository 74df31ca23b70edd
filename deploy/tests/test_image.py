"""The image and the compose file: structure only, no engine is needed."""

import re
import stat

import pytest
from conftest import DEPLOY, ROOT, compose

OURS = ("tracking", "registry", "serving", "evaluation", "gateway")


def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    instructions = dockerfile()
    start = max(i for i, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[start:]


def test_instructions_are_known_and_stages_exist():
    known = {"FROM", "ARG", "ENV", "LABEL", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"}
    instructions = dockerfile()
    assert {name for name, _ in instructions} <= known
    stages = {m[1] for name, rest in instructions if name == "FROM" and (m := re.search(r" AS (\w+)$", rest))}
    used = {m[1] for name, rest in instructions if name == "COPY" and (m := re.search(r"--from=(\w+)", rest))}
    assert used == stages


def test_the_image_runs_as_nobody_and_writes_only_data():
    final = dict(last_stage())
    assert final["USER"] == "65532:65532"
    assert final["VOLUME"] == '["/data"]'
    assert final["EXPOSE"] == "5000"
    assert final["ENTRYPOINT"] == '["/usr/local/bin/lodeway"]'


def test_the_build_uses_the_pinned_toolchain():
    channel = re.search(r'channel = "([\d.]+)"', (ROOT / "rust-toolchain.toml").read_text())[1]
    text = (DEPLOY / "Dockerfile").read_text()
    assert f"RUSTUP_TOOLCHAIN={channel}" in text
    assert f"FROM rust:{channel.rsplit('.', 1)[0]}-" in text


def test_copied_paths_exist():
    for name, rest in dockerfile():
        if name != "COPY" or "--from" in rest:
            continue
        sources = [word for word in rest.split()[:-1] if not word.startswith("--")]
        for source in sources:
            assert source == "." or list(ROOT.glob(source)), source


def test_the_context_leaves_out_everything_but_sources():
    lines = (ROOT / ".dockerignore").read_text().split()
    assert "*" in lines and "**/target" in lines and "**/.env" in lines
    kept = {line[1:] for line in lines if line.startswith("!")}
    members = re.findall(r'^    "([\w/]+)",$', (ROOT / "Cargo.toml").read_text(), flags=re.M)
    assert {member.split("/")[0] for member in members} <= kept


@pytest.mark.parametrize("file", ["Dockerfile", "compose.yaml"])
def test_no_secret_is_written_down(file):
    for line in (DEPLOY / file).read_text().splitlines():
        plain = re.sub(r"\$\{[^}]*\}", "", line)
        assert not re.search(r"(PASSWORD|SECRET\w*|TOKEN|ACCESS_KEY\w*|:\w+@)\s*[:=]\s*\S", plain), line
        assert not re.search(r"://\w+:\w+@", plain), line


def test_the_example_environment_names_what_compose_wants():
    wanted = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    given = re.findall(r"^(\w+)=\S+$", (DEPLOY / ".env.example").read_text(), flags=re.M)
    assert set(given) == wanted
    assert not (DEPLOY / ".env").exists() or ".env" in (ROOT / ".gitignore").read_text()


def test_every_service_of_compose_is_guarded_and_watched():
    services = compose()["services"]
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["user"] not in ("", "root", "0", "0:0"), name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        for other in service.get("depends_on", {}):
            assert other in services, name
    for name in OURS:
        assert services[name]["read_only"] is True and services[name]["user"] == "65532:65532"
    published = {name for name, service in services.items() if service.get("ports")}
    assert published == {"gateway"}
    volumes = {v.split(":")[0] for s in services.values() for v in s.get("volumes", [])}
    assert volumes == set(compose()["volumes"])


def test_files_are_not_executable():
    for path in DEPLOY.rglob("*.yaml"):
        assert not path.stat().st_mode & stat.S_IXUSR, path
