"""Workers for which the path of the run directory leads elsewhere: refused at the start, and one that comes later alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import thread_runs as t

from disttrain.checkpoint import same_disk
from disttrain.errors import RunNotShared


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> set[str]:
    """Workers of these names live on a host whose disk holds another folder at that path; the others on a third, with the driver's."""
    names: set[str] = set()
    (tmp_path / "other").mkdir()

    def shown(proof: Any, worker: str) -> bool:
        if proof is None:
            return False
        there = replace(proof, view="another boot", run_dir=str(tmp_path / "other") if worker in names else proof.run_dir)
        return same_disk.show(there, worker, pause=lambda _: None)

    monkeypatch.setattr("disttrain.elastic.member.show", shown)
    return names


def test_workers_on_other_hosts_with_the_same_disk_train(elsewhere, tmp_path):
    with t.driven(2, url=str(tmp_path / "run")):
        digest, _ = t.train(epochs=1)
    assert len(digest) == 64
    assert not (tmp_path / "run" / "place").exists()


def test_another_disk_at_the_start_ends_the_run_before_a_step(elsewhere, tmp_path):
    elsewhere.add("w1")
    with pytest.raises(RunNotShared, match=r"other on \S+ is not the run directory"), t.driven(2, url=str(tmp_path / "run")) as run:
        t.train(epochs=1)
    assert not run.events("formed") and list((tmp_path / "other").iterdir()) == []


def test_a_newcomer_with_another_disk_is_refused_by_name_and_the_run_goes_on(elsewhere, tmp_path):
    elsewhere.update(f"w{number}" for number in range(2, 50))
    with t.driven(2) as quiet:
        digest, _ = t.train(epochs=3)
    assert not quiet.events("newcomer failed")

    def lose_one() -> None:
        run.cluster.kill("w1")
        t.wait_until(lambda: run.events("newcomer failed"))

    with t.driven(2, url=str(tmp_path / "run")) as run:
        found, _ = t.train(t.AtEpoch(0, lose_one), epochs=3)
    assert found == digest
    told = [note for note in run.notes if "could not join" in note]
    assert told and "other on " in told[0] and "is not the run directory of the driver" in told[0]
    assert list((tmp_path / "other").iterdir()) == []


def test_a_disk_that_only_hears_of_the_driver_is_no_better(elsewhere, tmp_path, monkeypatch):
    def reads_a_copy(proof: Any, worker: str) -> bool:
        return True  # it found the driver's word in a copy, and left its own there

    monkeypatch.setattr("disttrain.elastic.member.show", reads_a_copy)
    with pytest.raises(RunNotShared, match="found     a copy"), t.driven(2, url=str(tmp_path / "run")) as run:
        t.train(epochs=1)
    assert not run.events("formed")
