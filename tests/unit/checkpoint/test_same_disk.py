"""A run directory that is another disk on another host is found out before anything is written to it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from disttrain.checkpoint import Store
from disttrain.checkpoint.same_disk import FOLDER, Proof, check_shown, leave_proof, own_view, show
from disttrain.errors import RunNotShared

IN_ANOTHER_PLACE = """
import sys
from disttrain.checkpoint.same_disk import Proof, own_view, show
proof = Proof(*sys.argv[1:])
print(own_view() == proof.view)
try:
    print(show(proof, "w1", pause=lambda s: None))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def left(tmp_path: Path) -> tuple[Store, Proof]:
    """The driver's word in a run directory."""
    store = Store(str(tmp_path / "run"))
    proof = leave_proof(store)
    assert proof is not None
    return store, proof


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def no_pause(_: float) -> None:
    pass


def test_who_lives_in_the_driver_s_view_of_the_files_needs_no_proof(left):
    store, proof = left
    assert own_view() and proof.view == own_view()
    assert show(proof, "w0") is False and store.list(f"{FOLDER}/{proof.nonce}") == ["driver"]
    assert show(None, "w0") is False


def test_who_does_not_finds_the_driver_s_word_and_leaves_one_that_the_driver_finds(left):
    store, proof = left
    elsewhere = replace(proof, view="another boot")
    assert show(elsewhere, "w1", pause=no_pause) is True and show(elsewhere, "w1", pause=no_pause) is True
    assert check_shown(store, proof, "w1", "h2") is None


def test_where_the_view_is_not_known_the_files_say_it(left, monkeypatch):
    _, proof = left
    monkeypatch.setattr("disttrain.checkpoint.same_disk.own_view", lambda: "")
    assert show(replace(proof, view=""), "w1", pause=no_pause) is True


@pytest.mark.parametrize("there", ["nothing", "another folder", "the run of another driver"])
def test_another_disk_is_refused_by_host_and_path_and_nothing_is_written_to_it(left, there, tmp_path):
    _, proof = left
    other = tmp_path / "other" / "run"
    if there != "nothing":
        other.mkdir(parents=True)
        (other / "run.json").write_text("{}")
    if there == "the run of another driver":
        leave_proof(Store(str(other)))
    before = files(tmp_path)
    with pytest.raises(RunNotShared, match=rf"{other} on \S+ is not the run directory of the driver on h1[\s\S]*s3://bucket/run") as caught:
        show(replace(proof, run_dir=str(other), view="another boot", host="h1"), "w1", pause=no_pause)
    assert ("no such folder" if there == "nothing" else "another folder of that name") in str(caught.value)
    assert files(tmp_path) == before and caught.value.exit_code == 2


def test_a_copy_that_hears_of_the_driver_and_is_not_heard_is_refused_too(left):
    store, proof = left
    refused = check_shown(store, proof, "w1", "h2")
    assert isinstance(refused, RunNotShared) and "on h2 is not" in str(refused) and "a copy" in str(refused)


def test_a_network_file_system_may_hear_of_the_folder_a_little_later(left, tmp_path):
    store, proof = left
    late = tmp_path / "late"

    def arrives(_: float) -> None:
        if not late.exists():
            late.symlink_to(store.root)

    assert show(replace(proof, run_dir=str(late), view="another boot"), "w1", pause=arrives) is True


def test_an_object_store_is_one_place_for_all_and_holds_no_words():
    store = Store("memory://same-disk/run")
    assert leave_proof(store) is None and store.list("") == []


def test_the_words_of_drivers_that_were_killed_go_with_the_next(left):
    store, proof = left
    after = leave_proof(store)
    assert after is not None and store.list(FOLDER) == [after.nonce] != [proof.nonce]


def _can_mount() -> bool:
    try:
        return subprocess.run(["unshare", "--mount", "--map-root-user", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not _can_mount(), reason="needs unshare, and namespaces that this user may make")
def test_another_mount_at_the_same_path_is_found_out_and_the_same_files_in_another_namespace_are_not(left, tmp_path):
    store, proof = left

    def seen(mount: str) -> str:
        inside = [sys.executable, "-c", IN_ANOTHER_PLACE, proof.run_dir, proof.nonce, proof.host, proof.view]
        command = ["unshare", "--mount", "--map-root-user", "sh", "-c", f'{mount}exec "$@"', "sh", *inside]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert seen("").splitlines() == ["False", "True"]
    assert check_shown(store, proof, "w1", "h2") is None
    told = seen(f"mount -t tmpfs none {tmp_path}/run; ")
    assert "RunNotShared" in told and "no such folder, or an empty one" in told
