"""Every `disttrain ...` written in a manifest, a compose file or a page of k8s/ and deploy/ is one that the command line accepts."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from kustomize import render
from manifests import load_one

from disttrain.cli.app import app

ROOT = Path(__file__).resolve().parents[3]


def commands() -> dict[str, list[str]]:
    """Arguments of `disttrain` by the place where they are written."""
    found: dict[str, list[str]] = {}
    for overlay in ("overlays/local", "overlays/s3", "overlays/gpu", "overlays/spot", "single-pod"):
        for manifest in render(ROOT / "k8s" / overlay):
            if manifest["kind"] == "RayJob":
                found[f"k8s/{overlay}"] = shlex.split(manifest["spec"]["entrypoint"])[1:]
            elif manifest["kind"] == "Job":
                found[f"k8s/{overlay}"] = manifest["spec"]["template"]["spec"]["containers"][0]["args"]
    found["deploy/compose.yaml"] = load_one(ROOT / "deploy" / "compose.yaml")["services"]["train"]["command"]
    for name in ("deploy/ray-cluster.yaml", "k8s/README.md"):
        for i, words in enumerate(re.findall(r"disttrain (launch [^'`\n]+)", (ROOT / name).read_text(encoding="utf-8"))):
            found[f"{name}, command {i + 1}"] = shlex.split(words)
    return found


@pytest.mark.parametrize(("place", "words"), commands().items(), ids=commands().keys())
def test_the_command_line_accepts_what_is_written(place: str, words: list[str]):
    name, arguments = words[0], [here(word) for word in words[1:]]
    command = subcommand(name)
    # Parsed by the command itself: an unknown option, a value of the wrong type or a missing argument raises click's UsageError.
    with command.make_context(name, arguments) as context:
        assert context.params, place


@pytest.mark.parametrize(("place", "words"), commands().items(), ids=commands().keys())
def test_the_run_directory_and_the_workers_are_named(place: str, words: list[str]):
    assert words[0] == "launch", place
    assert {"--workers", "--run-dir"} <= set(words)


def test_an_option_that_does_not_exist_is_refused():
    command = subcommand("launch")
    with pytest.raises(Exception, match="--wokers"):
        command.make_context("launch", ["train.py", "--wokers", "2"])


def test_a_wrong_command_ends_with_the_exit_code_that_a_job_does_not_try_again():
    done = subprocess.run(
        [sys.executable, "-m", "disttrain", "launch", "train.py", "--wokers", "2"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr


def here(word: str) -> str:
    """A script's path in the image, or on a machine of `ray up`, as the path of the same script in this repository."""
    return str(ROOT / "examples" / Path(word).name) if word.endswith(".py") else word


def subcommand(name: str) -> Any:
    """The parser behind `disttrain NAME`."""
    group: Any = typer.main.get_command(app)
    return group.commands[name]
