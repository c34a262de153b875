"""A peer of a benchmark that crashes is measured anew, counted and named; ours is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"

ABORTS_AT_FIRST = """
import os, pathlib, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
runs = pathlib.Path(sys.argv[1])
runs.touch()
runs.write_text(runs.read_text() + "x")
if len(runs.read_text()) <= int(sys.argv[2]):
    os.abort()
"""


@pytest.fixture
def crashes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with the folder on the path as when a benchmark runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import crashes

    return crashes


@pytest.fixture
def harness(crashes: Any) -> Any:
    return sys.modules["harness"]


def peer(harness: Any, name: str, folder: Path, aborts: int) -> Any:
    """Runs a peer that aborts so many times before it does its work; gives which run did it."""
    runs = folder / "runs"

    def attempt(number: int) -> int:
        with harness.Job(name, [sys.executable, "-c", ABORTS_AT_FIRST, str(runs), str(aborts)], folder) as job:
            job.wait(300)
        return len(runs.read_text())

    return attempt


def test_a_peer_that_aborts_once_is_measured_anew_and_the_crash_is_told(crashes, harness, tmp_path, capsys):
    counted = crashes.Crashes()
    assert counted.retried("torchrun", peer(harness, "torchrun", tmp_path, aborts=1)) == 2
    assert counted.of == {"torchrun": ["torchrun was ended by SIGABRT"]}
    counted.print()
    printed = capsys.readouterr()
    assert printed.out == "note: torchrun crashed 1 x and was measured anew (torchrun was ended by SIGABRT)\n\n"
    assert "torchrun was ended by SIGABRT: try 1 of 4" in printed.err


def test_a_peer_that_always_aborts_ends_the_benchmark_after_so_many_tries(crashes, harness, tmp_path):
    counted = crashes.Crashes(tries=2)
    with pytest.raises(harness.JobFailed, match="torchrun crashed in each of 2 tries"):
        counted.retried("torchrun", peer(harness, "torchrun", tmp_path, aborts=9))
    assert len(counted.of["torchrun"]) == 2 and (tmp_path / "runs").read_text() == "xx"


def test_a_crash_of_ours_ends_the_benchmark_at_once(crashes, harness, tmp_path):
    counted = crashes.Crashes()
    with pytest.raises(harness.JobCrashed, match="disttrain was ended by SIGABRT"):
        counted.retried("disttrain", peer(harness, "disttrain", tmp_path, aborts=1))
    assert (tmp_path / "runs").read_text() == "x" and counted.of == {}


def test_what_is_no_crash_is_not_tried_again(crashes, harness):
    def too_slow(number: int) -> None:
        raise harness.JobFailed("not done after 900 s")

    with pytest.raises(harness.JobFailed, match="not done"):
        crashes.Crashes().retried("torchrun", too_slow)


def test_a_measured_process_that_is_killed_between_two_turns_of_fit_is_started_again(crashes, tmp_path, monkeypatch):
    import fit

    served = "import json, sys\nprint('ready', flush=True)\nfor _ in sys.stdin: print(json.dumps({'steps': 6, 'cpu_s': 2.0}), flush=True)"
    monkeypatch.setitem(fit.SCRIPTS, "keras", [str(tmp_path / "served.py")])
    (tmp_path / "served.py").write_text(served)
    counted = crashes.Crashes()
    with fit.Server("keras", fit.SCRIPTS["keras"], "mlp", tmp_path) as server:
        assert server.rate("train") == 3.0
        server._process.kill()
        server._process.wait()
        assert fit._rates([server], "train", 2, counted) == {"keras": [3.0, 3.0]}
    assert counted.of == {"keras": ["keras was ended by SIGKILL"]}


@pytest.mark.parametrize("program", ["fit", "recovery", "startup", "throughput", "torch_models"])
def test_the_programs_open(program):
    done = subprocess.run([sys.executable, str(BENCHMARKS / f"{program}.py"), "--help"], capture_output=True, text=True, check=True)
    assert "--quick" in done.stdout
