"""What a storage's error means: exit code 2 for what no retry can mend, 3 for what may be well another time."""

from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path

import pytest

from disttrain.checkpoint import Store
from disttrain.checkpoint.trouble import answering, first_contact, refusal
from disttrain.errors import RunUnwritable, StorageUnavailable, UsageError


class NoCredentialsError(Exception):
    """As a client of an object store defines its own; it derives from nothing that Python has."""


class ParamValidationError(Exception):
    """The same, for a name that no bucket may have."""


@pytest.mark.parametrize(
    ("error", "is_local", "code"),
    [
        (OSError(errno.ENOSPC, "full"), True, 3),
        (OSError(errno.EDQUOT, "quota"), True, 3),
        (OSError(errno.EROFS, "read-only"), True, 2),
        (PermissionError(errno.EACCES, "denied"), True, 2),
        (PermissionError(errno.EACCES, "AccessDenied"), False, 3),
        (FileNotFoundError(errno.ENOENT, "The specified bucket does not exist"), False, 2),
        (NotImplementedError("no writing over http"), False, 2),
        (ParamValidationError("Invalid bucket name"), False, 2),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), False, 3),
        (TimeoutError(), False, 3),
        (NoCredentialsError("Unable to locate credentials"), False, 3),
    ],
    ids=lambda value: f"{type(value).__name__} {value}" if isinstance(value, Exception) else None,
)
def test_what_a_first_small_file_meets_says_whether_a_retry_can_help(error, is_local, code):
    told = first_contact("s3://bucket/run", error, is_local=is_local)
    assert told.exit_code == code and "s3://bucket/run cannot be written" in str(told) and "  try " in str(told)


def test_a_fault_that_may_pass_in_a_moment_is_left_to_who_writes():
    assert refusal("d/x", OSError(errno.EIO, "Input/output error"), is_local=True) is None


def test_a_storage_that_nobody_answers_for_is_told_and_tried_again():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(StorageUnavailable, match="ConnectionRefusedError") as told:
            Store(f"ftp://127.0.0.1:{held.getsockname()[1]}/run")
    assert told.value.exit_code == 3


def test_what_is_not_installed_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    with pytest.raises(UsageError, match=r"pip install 'disttrain\[s3\]'") as told:
        Store("s3://bucket/run")
    assert told.value.exit_code == 2


def test_an_unknown_kind_of_storage_is_wrong_use():
    with pytest.raises(UsageError, match="s4"):
        Store("s4://bucket/run")


def test_reading_what_does_not_answer_says_that_it_was_the_storage():
    with (
        pytest.raises(StorageUnavailable, match=r"s3://b/run cannot be used now: NoCredentialsError: none(.|\n)*try"),
        answering("s3://b/run"),
    ):
        raise NoCredentialsError("none")


@pytest.mark.parametrize("error", [KeyError("ours"), UsageError("said before"), FileNotFoundError("missing.keras"), KeyboardInterrupt()])
def test_what_is_no_trouble_of_the_storage_passes_as_it_is(error):
    with pytest.raises(type(error)) as passed, answering("d"):
        raise error
    assert passed.value is error


def test_a_folder_that_must_not_be_written_is_for_a_person_to_mend(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunUnwritable) as told:
        Store(str(tmp_path / "file" / "run")).probe()
    assert told.value.exit_code == 2
