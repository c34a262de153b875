"""The checks of a GPU, tried on a CPU: they run, each in a process of its own, and what does not hold, hangs or dies is told."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program, with its folder on the path as when it runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delenv("OUT", raising=False)
    import gpu_check

    return gpu_check


def test_without_a_gpu_it_says_so_in_one_line_and_exits_with_2(gpu_check: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([]) == 2
    said = capsys.readouterr().out
    assert said.startswith("gpu-check: no GPU here: torch") and said.count("\n") == 1


def test_three_checks_run_on_a_cpu_and_are_told_and_reported(gpu_check: Any, capsys: Any, tmp_path: Path):
    report = tmp_path / "gpu.md"
    code = gpu_check.main(["--device", "cpu", "--only", "nccl alone", "masks", "fault nan", "--report", str(report)])
    said, written = capsys.readouterr().out, report.read_text()
    assert code == 0, said
    for words in ("a work that is complete has no error", "Dropout draws the same on a CPU", "the weights are those before the step"):
        assert f"  yes {words}" in said and words in written
    assert "3 of 3 as they should be" in said and "3 of 3 checks" in written
    assert "cpu" in written and str(Path.home()) not in written


def test_a_check_that_hangs_is_killed_and_the_next_one_runs(gpu_check: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(gpu_check.CHECKS, "layers", replace(gpu_check.CHECKS["layers"], limit_s=0.2))
    monkeypatch.setitem(gpu_check.CHECKS, "versions", replace(gpu_check.CHECKS["versions"], limit_s=600.0))
    assert gpu_check.main(["--device", "cpu", "--only", "layers", "versions"]) == 1
    said = capsys.readouterr().out
    assert "killed: not done after 0 s" in said and "1 of 2 as they should be" in said


def test_what_is_left_when_time_runs_out_is_said_not_begun(gpu_check: Any, capsys: Any):
    assert gpu_check.main(["--device", "cpu", "--only", "versions", "masks", "--budget", "5"]) == 1
    assert capsys.readouterr().out.count("not begun: no time left") == 4  # as it comes, and in the table


def test_every_check_is_there_and_all_together_may_end_in_time(gpu_check: Any):
    for name, check in gpu_check.CHECKS.items():
        text = (BENCHMARKS / "gpu" / f"{check.module}.py").read_text()
        assert f"def {check.function}(tell: Teller)" in text, name
    assert gpu_check.BUDGET_S == 480.0


def test_the_report_says_what_does_not_hold(gpu_check: Any):
    one = gpu_check.Outcome("masks", 1.5, [{"what": "a | b", "found": "x\ny", "holds": False}])
    other = gpu_check.Outcome("saves", 2.0, [], "was ended by SIGKILL\n  | last words")
    text = gpu_check.as_markdown([one, other], "cuda", ["masks", "saves", "syncs"])
    assert "0 of 3 checks as they should be, 1 to come." in text
    assert "| a \\| b | x y | NO |" in text and "## saves: was ended by SIGKILL" in text and "last words" in text
    assert not sys.modules.get("gpu.steps")  # who only waits needs none of it
