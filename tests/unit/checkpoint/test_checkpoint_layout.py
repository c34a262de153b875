from __future__ import annotations

import pytest

from disttrain.checkpoint.layout import (
    CommitName,
    commit_path,
    parse_attempt,
    parse_commit_file,
    parse_save_folder,
    parse_shard_path,
    save_folder,
    shard_path,
)


def test_a_commit_name_shows_step_attempt_and_save_and_reads_back() -> None:
    name = CommitName(attempt=3, sequence=7, step=12000)
    assert str(name) == "step-000000012000-a0003-s0007"
    assert CommitName.parse(str(name)) == name
    assert commit_path(str(name)) == "checkpoints/commits/step-000000012000-a0003-s0007.json"
    assert parse_commit_file("step-000000012000-a0003-s0007.json") == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latest",
        "step-12-a0003-s0007",
        "step-000000012000-a0000-s0007",
        "step-0000000000012-a0003-s0007",
        "step-00000001200\N{ARABIC-INDIC DIGIT ZERO}-a0003-s0007",
    ],
)
def test_texts_that_are_no_commit_name_are_not_taken_for_one(text: str) -> None:
    assert CommitName.parse(text) is None


def test_names_beyond_the_padding_still_read_back() -> None:
    name = CommitName(attempt=123456, sequence=10000, step=10**13)
    assert CommitName.parse(str(name)) == name


def test_commits_are_ordered_by_attempt_then_sequence_not_by_step() -> None:
    assert CommitName(attempt=2, sequence=1, step=5) > CommitName(attempt=1, sequence=9, step=900)


def test_a_shard_path_reads_back_and_nothing_else_passes_for_one() -> None:
    folder = save_folder(CommitName(1, 1, 0), "0123456789abcdef")
    path = shard_path(folder, 0, 4)
    assert path == "checkpoints/data/step-000000000000-a0001-s0001-0123456789abcdef/w00-of-04.safetensors"
    assert parse_shard_path(path) == (folder, 0, 4)
    assert parse_save_folder(folder) == CommitName(1, 1, 0)
    for other in ("/etc/passwd", f"../{path}", path.replace(folder, ".."), path + "\n", path.replace("w00", "x00")):
        assert parse_shard_path(other) is None


def test_wrong_nonces_and_writers_are_refused() -> None:
    with pytest.raises(ValueError, match="16 lower-case hexadecimal digits"):
        save_folder(CommitName(1, 1, 0), "../..")
    with pytest.raises(ValueError, match="from 0 to 3"):
        shard_path("x", 4, 4)


def test_only_the_first_record_of_an_attempt_announces_it() -> None:
    assert parse_attempt("00000003.json") == 3
    assert [parse_attempt(name) for name in ("00000003.resume.json", "00000000.json", "3.json", "x")] == [None] * 4
