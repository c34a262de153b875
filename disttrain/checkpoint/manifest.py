"""The manifest of a checkpoint: what it holds and where, in one sealed record. Written last, and alone believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from disttrain.checkpoint.arrays import TensorSpec
from disttrain.checkpoint.layout import CommitName, parse_save_folder, parse_shard_path
from disttrain.checkpoint.messages import explain, some
from disttrain.checkpoint.partition import check_tiling
from disttrain.checkpoint.sealed import Json, seal, unseal
from disttrain.checkpoint.shards import ShardReport, piece_bytes
from disttrain.errors import CheckpointCorrupt, CheckpointIncomplete, CheckpointMismatch

FORMAT = "disttrain-checkpoint"
FORMAT_VERSION = 2  # of a checkpoint that refers to files of earlier ones; 1 of any other
MAX_MANIFEST_BYTES = 1 << 28
_FIELDS = ("format", "version", "attempt", "sequence", "step", "nonce", "tensors", "files", "extra")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One checkpoint.

    Attributes:
        name: step, attempt and sequence; its text is the name of the checkpoint.
        tensors: what it holds, sorted by name.
        files: where, piece by piece.
        extra: JSON of whoever saved: epoch, callback states, history.
        nonce: 32 hex digits that no other commit has, so that a writer recognises its own.

    Raises:
        CheckpointIncomplete: rows, tensors or shards are missing.
        CheckpointCorrupt: pieces overlap, or contradict the tensors.
    """

    name: CommitName
    tensors: tuple[TensorSpec, ...]
    files: tuple[ShardReport, ...]
    extra: dict[str, Json]
    nonce: str

    def __post_init__(self) -> None:
        self._check_files()
        specs = {spec.name: spec for spec in self.tensors}
        if len(specs) != len(self.tensors):
            raise self._corrupt("each tensor once", "a name twice")
        reports = [(file, report) for file in self.files for report in file.all_pieces()]
        tiling = check_tiling(self.tensors, [report.piece for _, report in reports])
        if tiling.overlaps:
            raise self._corrupt("each row of each tensor once", some(tiling.overlaps))
        if tiling.holes:
            raise self._incomplete("each row of each tensor once", some(tiling.holes))
        for file, report in reports:
            nbytes = piece_bytes(report.piece, specs[report.piece.tensor])
            if report.nbytes != nbytes:
                raise self._corrupt(f"{nbytes} bytes for {report.piece}", f"{report.nbytes} bytes in {file.path}")

    @property
    def refers(self) -> frozenset[str]:
        """The data folders of earlier saves that it needs."""
        return frozenset(file.path.split("/")[2] for own in self.files for file in own.earlier)

    def to_bytes(self) -> bytes:
        """The commit file. Raises ValueError where `extra` is no JSON."""
        return seal(
            {
                "format": FORMAT,
                "version": FORMAT_VERSION if self.refers else 1,
                "attempt": self.name.attempt,
                "sequence": self.name.sequence,
                "step": self.name.step,
                "nonce": self.nonce,
                "tensors": {spec.name: {"dtype": spec.dtype, "shape": list(spec.shape)} for spec in self.tensors},
                "files": [file.to_json() for file in self.files],
                "extra": self.extra,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> Manifest:
        """Read a commit file; `source` names it in messages.

        Raises:
            CheckpointCorrupt: any byte is wrong.
            CheckpointIncomplete: it is sound and describes less than whole tensors.
            CheckpointMismatch: a later disttrain wrote it, in a format that this one does not know.
        """
        body = unseal(data, source)
        version = body.get("version")
        if body.get("format") != FORMAT or type(version) is not int or version < 1:
            found = f"format={body.get('format')!r}, version={version!r}"
            raise _corrupt(source, f"format={FORMAT!r} and a version", found[:200])
        if version > FORMAT_VERSION:
            raise CheckpointMismatch(
                explain(
                    f"{source} cannot be read: its format is newer than this disttrain.",
                    expected=f"version {FORMAT_VERSION} or older",
                    found=f"version {version}",
                    remedy="the disttrain that wrote it, or a later one",
                )
            )
        if set(body) != set(_FIELDS):
            raise _corrupt(source, f"the fields {', '.join(_FIELDS)}", some(sorted(body), limit=12))
        nonce, tensors, files, extra = body["nonce"], body["tensors"], body["files"], body["extra"]
        if not isinstance(nonce, str) or not isinstance(tensors, dict) or not isinstance(files, list) or not isinstance(extra, dict):
            raise _corrupt(source, "nonce as a string, tensors and extra as objects, files as a list", "other types")
        try:
            name = CommitName(*(_count(body, field) for field in ("attempt", "sequence", "step")))
            specs = tuple(_spec(tensor, tensors[tensor]) for tensor in sorted(tensors))
        except ValueError as error:
            raise _corrupt(source, "well-formed names, dtypes and shapes", str(error)) from None
        made = cls(name, specs, tuple(ShardReport.from_json(file) for file in files), extra, nonce)
        if version == 1 and made.refers:
            raise _corrupt(source, "version 2, since it refers to files of earlier saves", "version 1")
        return made

    def _check_files(self) -> None:
        seen: dict[int, str] = {}
        for file in self.files:
            parsed = parse_shard_path(file.path)
            assert parsed is not None  # ShardReport checked it
            folder, writer, writers = parsed
            if parse_save_folder(folder) != self.name:
                raise self._corrupt(f"files in a data folder of {self.name}", file.path)
            if writers != len(self.files):
                names = [f"w{number:02d}" for number in sorted(seen | {writer: ""})]
                raise self._incomplete(f"{writers} files, as {file.path} says", f"{len(self.files)}, among them {some(names)}")
            if writer in seen:
                raise self._corrupt("one file a writer, in one folder", f"{seen[writer]} and {file.path}")
            seen[writer] = file.path
        if len({path.rsplit("/", 1)[0] for path in seen.values()}) > 1:
            raise self._corrupt("files of one save, in one folder", some(seen.values()))
        for folder in self.refers:
            origin = parse_save_folder(folder)
            if origin is None or (origin.attempt, origin.sequence) >= (self.name.attempt, self.name.sequence):
                raise self._corrupt("files of earlier saves alone, beside its own", folder)

    def _corrupt(self, expected: str, found: str) -> CheckpointCorrupt:
        return _corrupt(str(self.name), expected, found)

    def _incomplete(self, expected: str, found: str) -> CheckpointIncomplete:
        return CheckpointIncomplete(
            explain(f"{self.name} is incomplete.", expected=expected, found=found, remedy="an older checkpoint; this save was cut short")
        )


def _corrupt(source: str, expected: str, found: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(explain(f"{source} contradicts itself.", expected=expected, found=found, remedy="an older checkpoint"))


def _count(body: dict[str, Any], field: str) -> int:
    value = body[field]
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{field}={value!r}: expected a whole number.")
    return value


def _spec(name: str, value: Any) -> TensorSpec:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape"} or not isinstance(value["dtype"], str):
        raise ValueError(f"tensor {name[:80]!r} is {repr(value)[:80]}: expected a dtype and a shape.")
    shape = value["shape"]
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise ValueError(f"tensor {name[:80]!r} has shape={repr(shape)[:80]}: expected a list of whole numbers.")
    return TensorSpec(name, value["dtype"], tuple(shape))
