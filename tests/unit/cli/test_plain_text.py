"""Names and paths are printed as they are, whatever brackets and colons they have: nothing that a person names is markup."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer

import disttrain as dt
from disttrain.cli import main
from disttrain.cli.app import app
from disttrain.cli.tables import print_status
from disttrain.rundir.directory import RunDirectory

STRANGE = "my[exp]1 [bold]x[/bold] :smile: [/] \\[red]"
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert not ended.value.code


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_shows_every_word_and_every_default(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    run(command, "--help")
    shown = re.sub(r"[│╭╮╰╯─\s]+", " ", capsys.readouterr().out)
    for parameter in typer.main.get_command(app).commands[command].params:  # type: ignore[attr-defined]
        if (text := getattr(parameter, "help", None)) is not None:
            assert re.sub(r"\s+", " ", text) in shown, parameter.name
        if isinstance(default := getattr(parameter, "show_default", None), str):
            assert f"[default: ({default})]" in shown, parameter.name


def test_status_prints_the_name_of_the_directory_as_it_is(tmp_path, capsys):
    directory = RunDirectory(str(tmp_path / STRANGE.replace("/", "|")))
    directory.begin(fresh=True)
    directory.end("finished")
    run("status", directory.run_dir)
    assert directory.run_dir in capsys.readouterr().out


def test_nothing_in_a_status_is_markup(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    worker = {"rank": 0, "worker": f"w {STRANGE}", "pid": 1, "host": f"h {STRANGE}", "virtual_ranks": [0]}
    status: dict[str, Any] = {
        "state": f"s {STRANGE}", "attempt": 1, "driver": {"pid": 1, "host": f"d {STRANGE}"}, "problem": f"p {STRANGE}",
        "epoch": 1, "epochs": 2, "call": 0, "kind": "fit", "step": 1, "step_in_epoch": 1, "steps_per_epoch": 2, "generation": 1,
        "logs": {f"m {STRANGE}": 0.5},
        "workers": [worker], "checkpoints": [{"name": f"c {STRANGE}", "step": 1}],
    }  # fmt: skip
    print_status(f"r {STRANGE}", status)
    shown = capsys.readouterr().out
    for letter in "wshdpmcr":
        assert f"{letter} {STRANGE}" in shown, letter


def test_nothing_in_a_summary_is_markup(capsys):
    model = dt.Sequential([dt.Input((2,)), dt.layers.Dense(1, name="[red]:smile:")], name="net[bold]")
    model.summary()
    shown = capsys.readouterr().out
    assert '"net[bold]"' in shown and "[red]:smile:" in shown
