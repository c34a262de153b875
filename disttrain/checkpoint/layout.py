"""Where things lie in a run directory. Names only: nothing is read or written here.

attempts/00000003.json                                              attempt 3 exists
attempts/00000003.resume.json                                       what it resumed from
attempts/00000003.end.json                                          how it ended
checkpoints/data/<commit name>-<16 hex>/w00-of-04.safetensors       one file a writer, never overwritten
checkpoints/commits/step-000000012000-a0003-s0007.json              written last: the checkpoint exists
checkpoints/bad/step-000000012000-a0003-s0007.json                  a reader found it damaged, and why
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ATTEMPTS = "attempts"
BAD = "checkpoints/bad"
COMMITS = "checkpoints/commits"
DATA = "checkpoints/data"

_ATTEMPT_FILE = re.compile(r"(\d{8,})\.json", re.ASCII)
_COMMIT = re.compile(r"step-(\d{12,})-a(\d{4,})-s(\d{4,})", re.ASCII)
_SAVE = re.compile(r"(.+)-[0-9a-f]{16}", re.ASCII)
_SHARD = re.compile(r"checkpoints/data/([^/]+)/w(\d{2,})-of-(\d{2,})\.safetensors", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class CommitName:
    """A checkpoint's name. Ordered by attempt, then sequence: the order in which commits were made.

    Args:
        attempt: which start of the driver made it, 1 or more.
        sequence: how many saves that attempt had begun, this one included, 1 or more.
        step: optimizer updates done.

    Example:
        >>> str(CommitName(attempt=3, sequence=7, step=12000))
        'step-000000012000-a0003-s0007'
    """

    attempt: int
    sequence: int
    step: int

    def __post_init__(self) -> None:
        if self.attempt < 1 or self.sequence < 1 or self.step < 0:
            raise ValueError(
                f"CommitName(attempt={self.attempt}, sequence={self.sequence}, step={self.step}): "
                "expected attempt and sequence of 1 or more, step of 0 or more."
            )

    def __str__(self) -> str:
        return f"step-{self.step:012d}-a{self.attempt:04d}-s{self.sequence:04d}"

    @classmethod
    def parse(cls, text: str) -> CommitName | None:
        """The parts of a name; None for a text that no commit would be named."""
        match = _COMMIT.fullmatch(text)
        if match is None:
            return None
        step, attempt, sequence = (int(group) for group in match.groups())
        if attempt < 1 or sequence < 1:
            return None
        name = cls(attempt, sequence, step)
        return name if str(name) == text else None


def attempt_path(number: int) -> str:
    """The file that says that attempt `number` exists."""
    return f"{ATTEMPTS}/{number:08d}.json"


def resume_path(number: int) -> str:
    """The file that says what attempt `number` resumed from."""
    return f"{ATTEMPTS}/{number:08d}.resume.json"


def end_path(number: int) -> str:
    """The file that says how attempt `number` ended."""
    return f"{ATTEMPTS}/{number:08d}.end.json"


def parse_attempt(file_name: str) -> int | None:
    """The attempt that a file in `attempts/` announces; None for resume and end records and anything else."""
    match = _ATTEMPT_FILE.fullmatch(file_name)
    return int(match[1]) if match and int(match[1]) >= 1 else None


def commit_path(name: str) -> str:
    """The commit file of a checkpoint."""
    return f"{COMMITS}/{name}.json"


def bad_path(name: str) -> str:
    """The file that says that a checkpoint was found damaged."""
    return f"{BAD}/{name}.json"


def parse_commit_file(file_name: str) -> CommitName | None:
    """The checkpoint that a file in `checkpoints/commits/` is the commit of; None for anything else."""
    return CommitName.parse(file_name.removesuffix(".json")) if file_name.endswith(".json") else None


def save_folder(name: CommitName, nonce: str) -> str:
    """The name of the data folder of one try to save; `nonce`, 16 hex digits, makes it new each time."""
    folder = f"{name}-{nonce}"
    if parse_save_folder(folder) != name:
        raise ValueError(f"nonce={nonce!r}: expected 16 lower-case hexadecimal digits.")
    return folder


def parse_save_folder(folder: str) -> CommitName | None:
    """The checkpoint that a data folder was written for; None for anything else."""
    match = _SAVE.fullmatch(folder)
    return CommitName.parse(match[1]) if match else None


def shard_path(folder: str, writer: int, writers: int) -> str:
    """The file of one writer, counted from 0, of a save."""
    if not 0 <= writer < writers:
        raise ValueError(f"writer={writer} of writers={writers}: expected a number from 0 to {writers - 1}.")
    return f"{DATA}/{folder}/w{writer:02d}-of-{writers:02d}.safetensors"


def parse_shard_path(path: str) -> tuple[str, int, int] | None:
    """(folder, writer, writers) of a shard's path; None for anything else, such as a path that leaves the data folder."""
    match = _SHARD.fullmatch(path)
    if match is None or parse_save_folder(match[1]) is None:
        return None
    return match[1], int(match[2]), int(match[3])
