"""What a person is told at the start and at the end of a run: only what the program knows."""

from __future__ import annotations

import pytest
from finished_run import train

from disttrain.launch.endings import end_lines
from disttrain.launch.telling import quoted
from disttrain.rundir.directory import RunDirectory


def test_the_start_names_the_run_the_workers_the_slices_the_data_and_where_it_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("disttrain.launch.telling.cores_here", lambda: 2)
    place = train("my run", workers=3)
    told = capsys.readouterr().out
    for words in (
        "run      my run\n", "workers  3 on this machine, 1 CPU each; V = 3 slices of each batch\n",
        "data     8 samples, 2 steps of 4 an epoch, 2 epochs\n", "from     the start\n", "disttrain view 'my run'",
        "3 workers of 1 CPU each are more than this machine's 2 cores, which they share\n",
    ):  # fmt: skip
        assert words in told
    lines = end_lines(RunDirectory(place))
    assert lines[0].startswith("done     my run holds the trained model, checkpoint step-000000000004")
    assert lines[1].startswith("export   disttrain export 'my run' --format keras") and lines[2] == "view     disttrain view 'my run'"
    assert not any("tensorboard" in line for line in lines)
    (tmp_path / "my run" / "tensorboard").mkdir()
    (tmp_path / "my run" / "tensorboard" / "events").touch()
    assert "curves   disttrain tensorboard 'my run'" in end_lines(RunDirectory(place))


def test_a_run_that_trained_nothing_is_not_said_to_hold_a_model(tmp_path):
    directory = RunDirectory(str(tmp_path))
    directory.begin(fresh=True)
    assert end_lines(directory) == []


@pytest.mark.parametrize("url", ["s3://bucket/run", "memory://a b"])
def test_an_url_is_shown_as_it_is(url):
    assert quoted(url).strip("'") == url
