"""A full disk is told as that before Ray is started on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from full_disk import can_mount, on_a_full_disk

from disttrain.clusters.ray.room import refuse_without_room, shortage


@pytest.mark.skipif(not can_mount(), reason="this user may not mount a disk of its own")
def test_a_full_disk_is_the_reason_that_is_told(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    program = f"from disttrain.clusters.ray.room import refuse_without_room; refuse_without_room({str(folder)!r})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    told = on_a_full_disk(folder, [sys.executable, "-c", program], environment).stderr
    assert f"InfrastructureError: no Ray on this machine: {folder} has no room for Ray's files: No space left on device" in told, told
    assert "(0 MiB are free)" in told and f"try       df -h {folder}" in told


def test_a_disk_with_room_is_left_as_it_was(tmp_path):
    refuse_without_room(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told_too(tmp_path):
    assert "No such file" in str(shortage(str(tmp_path / "missing")))
