"""deploy/, the Makefile and CI: what they promise, read from the files and from a dry run of make."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from manifests import load_one

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, rest) pairs, comments dropped and continued lines joined."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def argument(name: str) -> str:
    (value,) = {rest.split("=", 1)[1] for word, rest in dockerfile() if word == "ARG" and rest.startswith(name + "=")}
    return value


def final_stage() -> list[tuple[str, str]]:
    instructions = dockerfile()
    start = max(i for i, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[start:]


# The image.


def test_the_image_carries_a_venv_built_in_a_stage_of_its_own():
    assert [word for word, _ in dockerfile()].count("FROM") == 2
    assert ("COPY", "--from=build /opt/venv /opt/venv") in final_stage()
    assert not any("pip install" in rest for _, rest in final_stage())


def test_the_image_runs_as_a_user_without_rights_and_gets_signals_itself():
    stage = dict(final_stage())
    assert stage["USER"] == "10001:10001"
    assert json.loads(stage["ENTRYPOINT"]) == ["disttrain"]  # the exec form is JSON


def test_the_base_image_has_a_version():
    bases = [rest.split()[0] for word, rest in dockerfile() if word == "FROM"]
    assert {base.replace("${PYTHON}", argument("PYTHON")) for base in bases} == {"python:3.11-slim"}


def test_the_image_and_the_makefile_install_one_torch():
    assert f"TORCH_CPU_BUILD := torch=={argument('TORCH_VERSION')}+cpu\n" in (ROOT / "Makefile").read_text()


def test_the_images_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(argument("EXTRAS").split(",")) <= set(extras)


def test_everything_the_image_copies_is_sent_to_the_builder_and_nothing_else_is():
    copied = {name.strip("./") for word, rest in dockerfile() if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]}
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied


# Compose and ray up.


def compose() -> dict[str, Any]:
    page: dict[str, Any] = load_one(DEPLOY / "compose.yaml")
    return page


def test_the_composed_run_is_on_a_volume_and_goes_on_after_a_crash():
    train = compose()["services"]["train"]
    assert "runs" in compose()["volumes"] and "runs:/runs" in train["volumes"]
    assert train["command"][train["command"].index("--run-dir") + 1].startswith("/runs/")
    assert train["restart"].startswith("on-failure")
    assert (DEPLOY / train["build"]["context"] / train["build"]["dockerfile"]).is_file()


def test_no_composed_service_is_open_to_the_network_or_has_rights():
    for service in compose()["services"].values():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def ray_schema() -> dict[str, Any]:
    spec = importlib.util.find_spec("ray")  # finds it, imports nothing
    assert spec is not None and spec.submodule_search_locations
    schema: dict[str, Any] = json.loads((Path(spec.submodule_search_locations[0]) / "autoscaler" / "ray-schema.json").read_text())
    return schema


def test_rays_own_schema_accepts_the_cluster_file():
    jsonschema.validate(load_one(DEPLOY / "ray-cluster.yaml"), ray_schema())


def test_rays_own_schema_refuses_a_broken_cluster_file():
    broken = {**load_one(DEPLOY / "ray-cluster.yaml"), "head_start_ray_command": []}
    with pytest.raises(jsonschema.ValidationError, match="head_start_ray_command"):
        jsonschema.validate(broken, ray_schema())


def test_the_cluster_file_keeps_workers_off_the_head_and_has_the_images_ray():
    page = load_one(DEPLOY / "ray-cluster.yaml")
    assert any("--num-cpus=0" in command for command in page["head_start_ray_commands"])
    assert f"ray[default]=={argument('RAY_VERSION')}" in page["setup_commands"][0]


@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is not installed")
def test_hadolint_finds_nothing():
    subprocess.run(["hadolint", str(DEPLOY / "Dockerfile")], check=True)


# make and CI.


@pytest.fixture
def dry_run(tmp_path: Path) -> Any:
    """`dry_run(system, gpu)`: what `make venv` would type on such a machine."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")

    def program(folder: Path, name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    def run(system: str, *, gpu: bool) -> str:
        folder = tmp_path / f"{system}-{gpu}"
        folder.mkdir()
        for name in ("make", "sh", "test", "python3"):
            (folder / name).symlink_to(shutil.which(name) or "/bin/false")
        program(folder, "uname", f"echo {system}")
        if gpu:
            program(folder, "nvidia-smi", "exit 0")
        command = ["make", "--dry-run", "venv", f"VENV={tmp_path}/venv"]
        environment = {**os.environ, "PATH": str(folder), "MAKEFLAGS": ""}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    return run


def test_a_machine_without_a_gpu_gets_the_cpu_build(dry_run: Any):
    assert 'pip install --quiet "torch==2.13.0+cpu"' in dry_run("Linux", gpu=False)


@pytest.mark.parametrize(("system", "gpu"), [("Linux", True), ("Darwin", False)])
def test_a_machine_with_a_gpu_and_a_mac_get_the_default_build(dry_run: Any, system: str, gpu: bool):
    typed = dry_run(system, gpu=gpu)
    assert "+cpu" not in typed and "pip install --quiet -e" in typed


def test_a_second_make_installs_nothing_until_the_project_file_changes(tmp_path: Path):
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    stamp = tmp_path / ".installed"
    stamp.touch()
    command = ["make", "--question", "venv", f"VENV={tmp_path}"]

    def up_to_date() -> bool:
        return subprocess.run(command, cwd=ROOT, env={**os.environ, "MAKEFLAGS": ""}, capture_output=True).returncode == 0

    newer = (ROOT / "pyproject.toml").stat().st_mtime + 10
    os.utime(stamp, (newer, newer))
    assert up_to_date()
    os.utime(stamp, (newer - 20, newer - 20))
    assert not up_to_date()


def test_ci_ends_with_the_tests():
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert "make --no-print-directory test" in lines
    after = lines[lines.index("make --no-print-directory test") + 1 :]
    assert not any(re.search(r"\becho\b|\bprintf\b|\bmake\b", line) for line in after)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


def test_the_image_has_no_wget_and_every_page_asks_for_an_operator_that_needs_none():
    """KubeRay's probes ran `wget` in the pods until 1.5; an image that installs it may allow older operators again."""
    assert not [rest for word, rest in dockerfile() if word == "RUN" and ("wget" in rest or "apt" in rest.split())]
    assert [rest for word, rest in final_stage() if word == "FROM"] == ["python:${PYTHON}-slim"]  # which brings none
    for page in ("k8s/README.md", "k8s/base/kustomization.yaml"):
        assert re.findall(r"(\d+\.\d+) or newer", (ROOT / page).read_text()) == ["1.6"], page
