"""Options that stand in a file: flags before the environment before the file before the defaults, and nothing guessed."""

from __future__ import annotations

import re

import pytest

from disttrain import cli
from disttrain.launch import script as script_module


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The configs that `launch` was asked for, in a folder of its own; nothing is started."""
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(script_module, "launch", lambda config, script, arguments, **rest: calls.append(config))
    return calls


def test_a_flag_goes_before_the_environment_and_that_before_the_file(asked, tmp_path, monkeypatch):
    (tmp_path / "disttrain.toml").write_text('workers = 2\nspares = 2\nkeep = 2\nrun-dir = "memory://x"\nadmission = false\n')
    monkeypatch.setenv("DISTTRAIN_LAUNCH_WORKERS", "3")
    monkeypatch.setenv("DISTTRAIN_LAUNCH_SPARES", "3")
    assert run("launch", "train.py", "--workers", "4") == 0
    (config,) = asked
    assert (config.workers, config.spares, config.keep, config.run_dir, config.admission, config.samples) == (
        4,
        3,
        2,
        "memory://x",
        False,
        16,
    )


def test_pyproject_holds_them_too_with_underscores_as_well(asked, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.other]\na = 1\n[tool.disttrain]\nrun_dir = "memory://y"\nhang-timeout = 30\n')
    assert run("launch", "train.py") == 0
    assert (asked[0].run_dir, asked[0].hang_timeout_s) == ("memory://y", 30.0)


def test_each_values_source_is_printed_and_nothing_starts(asked, tmp_path, monkeypatch, capsys):
    (tmp_path / "disttrain.toml").write_text("keep = 5\n")
    monkeypatch.setenv("DISTTRAIN_LAUNCH_SPARES", "1")
    assert run("launch", "train.py", "--workers", "2", "--print-config") == 0
    told = [re.sub(r"[│┃\s]+", " ", line).strip() for line in capsys.readouterr().out.splitlines()]
    assert "--workers 2 flag" in told and "--keep 5 disttrain.toml" in told and "--samples 16 default" in told
    assert "--spares 1 environment DISTTRAIN_LAUNCH_SPARES" in told and not asked


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wrokers = 2\n", "disttrain.toml: unknown option 'wrokers'.\n  expected  workers"),
        ('workers = "two"\n', "disttrain.toml: workers = 'two': expected a whole number."),
        ("workers = true\n", "expected a whole number"),
        ("admission = 1\n", "expected true or false"),
        ("run-dir = 3\n", "expected text"),
        ("restart = true\n", "restart is said for one launch, on the command line"),
        ("run-dir = 'a'\nrun_dir = 'b'\n", "run-dir stands there twice"),
        ("workers = \n", "is no TOML"),
        ("workers = 0\n", "--workers 0: expected an integer of 1 or more"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(text, words, asked, tmp_path, capsys):
    (tmp_path / "disttrain.toml").write_text(text)
    assert run("launch", "train.py") == 2
    assert words in capsys.readouterr().err and not asked


def test_two_files_with_options_are_refused_and_one_of_others_is_not_looked_at(asked, tmp_path, capsys):
    (tmp_path / "pyproject.toml").write_text("[broken\n")
    assert run("launch", "train.py") == 0
    (tmp_path / "pyproject.toml").write_text("[tool.disttrain]\nworkers = 2\n")
    (tmp_path / "disttrain.toml").write_text("workers = 2\n")
    assert run("launch", "train.py") == 2
    assert "both hold options" in capsys.readouterr().err


def test_other_commands_do_not_read_the_file(asked, tmp_path, capsys):
    (tmp_path / "disttrain.toml").write_text("wrokers = 2\n")
    assert run("--version") == 0
