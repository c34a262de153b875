"""Options of the script that stand where launch's own belong."""

from __future__ import annotations

import pytest

from disttrain.cli import main
from disttrain.cli.script_arguments import meant_command

OWN = {"--workers": True, "--seed": True, "--restart": False, "--run-dir": True}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("launch args.py --lr 0.5", "disttrain launch args.py -- --lr 0.5"),
        ("launch args.py --lr 0.5 --workers 2", "disttrain launch args.py --workers 2 -- --lr 0.5"),
        ("launch --restart args.py --workers=2 --lr=0.5 data.csv", "disttrain launch --restart args.py --workers=2 -- --lr=0.5 data.csv"),
        ("launch args.py -v -- --epochs 2", "disttrain launch args.py -- -v --epochs 2"),
        ("launch --lr 0.5 args.py", None),
    ],
)
def test_the_command_as_it_was_meant(given, meant):
    assert meant_command(given.split(), OWN) == meant


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main(["launch", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_an_option_of_the_script_is_told_where_it_belongs(capsys, monkeypatch):
    told = refused(capsys, monkeypatch, "args.py", "--lr", "0.5", "--workers", "2")
    assert "--lr" in told and "disttrain launch args.py --workers 2 -- --lr 0.5" in told and "stand after --" in told


def test_a_slip_of_the_pen_is_told_as_that(capsys, monkeypatch):
    told = refused(capsys, monkeypatch, "args.py", "--wrokers", "2")
    assert "--workers" in told and " -- " not in told


@pytest.mark.parametrize(
    ("given", "advised"),
    [
        ("train.py --workers 2", "disttrain launch train.py --workers 2"),
        ("run train.py --workers 2", "disttrain launch train.py --workers 2"),
        ("help", "disttrain --help"),
        ("version", "disttrain --version"),
        ("ps", "disttrain runs"),
        ("lanch train.py", "Did you mean 'launch'?"),
        ("frobnicate", "There are audit, checkpoints, digest,"),
        ("launch -m package.train --workers 2", "such as package/train.py"),
    ],
)
def test_a_command_that_there_is_none_of_is_told_with_the_one_that_was_meant(given, advised, capsys):
    with pytest.raises(SystemExit) as ended:
        main(given.split())
    told = capsys.readouterr().err
    assert ended.value.code == 2 and advised in told and "Traceback" not in told
