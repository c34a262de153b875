"""Completion in bash, zsh and fish: the shell itself, with the script that the command prints for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import environment
from terminal import Terminal

LINES = {  # what is typed: what a shell must offer
    "disttrain laun": {"launch"},
    "disttrain launch train.py --virt": {"--virtual-workers"},
    "disttrain launch train.py --kernels ": {"common", "own"},
    "disttrain status --w": {"--watch"},
    "disttrain checkpoints ver": {"verify"},
    "disttrain stop --no-": {"--no-wait"},
}


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell whose first `disttrain` is this one."""
    program = tmp_path / "bin" / "disttrain"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m disttrain "$@"\n')
    program.chmod(0o755)
    (tmp_path / "home").mkdir()
    own = {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(tmp_path / "home")}
    return {**environment(), **own}


def script_for(shell: str, variables: dict[str, str]) -> str:
    done = subprocess.run(["disttrain"], env={**variables, "_DISTTRAIN_COMPLETE": f"source_{shell}"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"there is no {name} here")


@needs("bash")
def test_bash_completes_commands_options_and_values(shell: dict[str, str], tmp_path: Path):
    (tmp_path / "complete.bash").write_text(script_for("bash", shell))
    asks = ['. "$1"']
    for line in LINES:
        words = line.split(" ")
        quoted = " ".join(f"'{word}'" for word in words)
        asks.append(f'COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _disttrain_completion disttrain; echo "${{COMPREPLY[*]}}"')
    command = ["bash", "--norc", "-c", "\n".join(asks), "bash", str(tmp_path / "complete.bash")]
    done = subprocess.run(command, env=shell, capture_output=True, text=True, check=True)
    assert [set(line.split()) for line in done.stdout.splitlines()] == list(LINES.values())


@needs("fish")
def test_fish_completes_commands_options_and_values(shell: dict[str, str], tmp_path: Path):
    (tmp_path / "complete.fish").write_text(script_for("fish", shell))
    asks = [f"source {tmp_path}/complete.fish", *(f"complete -C '{line}' | string split -f1 \\t; echo ." for line in LINES)]
    done = subprocess.run(["fish", "--no-config", "-c", "\n".join(asks)], env=shell, capture_output=True, text=True, check=True)
    assert [set(part.split()) for part in done.stdout.split("\n.\n") if part] == list(LINES.values())


@needs("zsh")
def test_zsh_completes_what_is_typed(shell: dict[str, str], tmp_path: Path):
    (tmp_path / "complete.zsh").write_text(script_for("zsh", shell))
    with Terminal(["zsh", "-f", "-i"], tmp_path, {**shell, "PS1": "$ ", "TERM": "dumb"}, columns=200) as terminal:
        terminal.type(f"autoload -Uz compinit; compinit -u -D; . {tmp_path}/complete.zsh; echo rea''dy\n")
        terminal.until(lambda seen: "ready" in seen.text)
        terminal.type("disttrain laun\t")
        terminal.until(lambda seen: "disttrain launch" in seen.text)
        terminal.type("train.py --virt\t")
        terminal.until(lambda seen: "--virtual-workers" in seen.text)


def test_the_command_installs_it_for_the_shell_that_runs_it(shell: dict[str, str], tmp_path: Path):
    done = subprocess.run(
        ["bash", "-c", "disttrain --install-completion; true"], env={**shell, "SHELL": "/bin/bash"}, capture_output=True, text=True
    )
    assert "bash completion installed" in done.stdout, done.stdout + done.stderr
    assert "disttrain" in (tmp_path / "home" / ".bashrc").read_text()
