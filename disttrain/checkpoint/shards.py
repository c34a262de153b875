"""What one writer's file holds: a plain safetensors file, and the report that a commit needs of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xxhash

from disttrain.checkpoint.arrays import DTYPES, TensorSpec
from disttrain.checkpoint.layout import parse_shard_path
from disttrain.checkpoint.messages import explain
from disttrain.checkpoint.partition import Piece
from disttrain.errors import CheckpointCorrupt

# one page: then the data of a file written from a page-aligned arena can bypass the page cache, and mmap gives aligned tensors
ALIGN_BYTES = 4096
MAX_HEADER_BYTES = 100_000_000  # the limit of safetensors
_MAX_FILE_BYTES = 1 << 62


@dataclass(frozen=True, slots=True)
class PieceReport:
    """Where a piece lies in its file.

    Attributes:
        piece: which rows of which tensor.
        offset: of its first byte, from the start of the file.
        nbytes: its length.
        digest: xxh3_128 of its bytes, 32 hex digits.
    """

    piece: Piece
    offset: int
    nbytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """A file of an earlier save that holds pieces of this one too: their bytes had not changed, and were not written again.

    Attributes:
        path: in the store, as `layout.shard_path` names it.
        nbytes: its size.
        pieces: those of this save, where they lie in that file.

    Raises:
        CheckpointCorrupt: no such path, or a piece that lies outside of the file.
    """

    path: str
    nbytes: int
    pieces: tuple[PieceReport, ...]

    def __post_init__(self) -> None:
        if parse_shard_path(self.path) is None:
            raise _refused(self.path[:200], "a path such as checkpoints/data/<save>/w00-of-04.safetensors", "another name")
        for report in self.pieces:
            if report.nbytes < 1 or report.offset < 9 or report.offset + report.nbytes > self.nbytes:
                raise _refused(self.path, f"pieces that lie in its {self.nbytes} bytes", f"{report.piece} from byte {report.offset}")

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {"path": self.path, "bytes": self.nbytes, "pieces": [_piece_to_json(report) for report in self.pieces]}

    @classmethod
    def from_json(cls, value: Any) -> Earlier:
        """From JSON types, every field checked."""
        if not isinstance(value, dict) or set(value) != {"path", "bytes", "pieces"} or not isinstance(value["pieces"], list):
            raise _refused("the report of an earlier file", "an object with path, bytes, pieces", repr(value)[:200])
        path, nbytes = value["path"], value["bytes"]
        if not isinstance(path, str) or not _is_count(nbytes):
            raise _refused("the report of an earlier file", "a path and a size", repr((path, nbytes))[:200])
        return cls(path, nbytes, tuple(_piece_from_json(path, piece) for piece in value["pieces"]))


@dataclass(frozen=True, slots=True)
class ShardReport:
    """One durable file of a save.

    Attributes:
        path: in the store, as `layout.shard_path` names it.
        nbytes: its size.
        header_bytes: where the data begins: 8 bytes of length, the JSON header, spaces up to a multiple of 4096.
        header_digest: xxh3_128 of those bytes.
        pieces: what it holds, in the order of the file, without gaps.
        earlier: where the pieces of this writer lie that it did not write again.

    Raises:
        CheckpointCorrupt: the pieces overlap, leave gaps or end elsewhere than the file.
    """

    path: str
    nbytes: int
    header_bytes: int
    header_digest: str
    pieces: tuple[PieceReport, ...]
    earlier: tuple[Earlier, ...] = ()

    def __post_init__(self) -> None:
        if parse_shard_path(self.path) is None:
            raise _refused(self.path[:200], "a path such as checkpoints/data/<save>/w00-of-04.safetensors", "another name")
        if not 8 < self.header_bytes <= MAX_HEADER_BYTES + ALIGN_BYTES:
            raise _refused(self.path, f"a header of 9 to {MAX_HEADER_BYTES} bytes", f"{self.header_bytes} bytes")
        at = self.header_bytes
        for report in self.pieces:
            if report.offset != at or report.nbytes < 0:
                kind = "overlaps the one before it" if report.offset < at else "leaves a gap before it"
                raise _refused(self.path, f"each piece right after the one before, the next at byte {at}", f"{report.piece} {kind}")
            at += report.nbytes
        if at != self.nbytes or at > _MAX_FILE_BYTES:
            raise _refused(self.path, f"pieces up to its last byte, {self.nbytes}", f"pieces up to byte {at}")

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "path": self.path,
            "bytes": self.nbytes,
            "header_bytes": self.header_bytes,
            "header_digest": self.header_digest,
            "pieces": [_piece_to_json(report) for report in self.pieces],
            **({"earlier": [file.to_json() for file in self.earlier]} if self.earlier else {}),
        }

    def all_pieces(self) -> list[PieceReport]:
        """Those of the file, and those that lie in earlier ones."""
        return [*self.pieces, *(report for file in self.earlier for report in file.pieces)]

    def all_files(self) -> tuple[ShardReport | Earlier, ...]:
        """It, and the earlier ones."""
        return (self, *self.earlier)

    def by_piece(self) -> dict[Piece, tuple[str, int, PieceReport]]:
        """Where each piece lies, for the next save to refer to: the path of the file that holds it, its size, and the report."""
        found = {report.piece: (self.path, self.nbytes, report) for report in self.pieces}
        return found | {report.piece: (file.path, file.nbytes, report) for file in self.earlier for report in file.pieces}

    @classmethod
    def from_json(cls, value: Any) -> ShardReport:
        """From JSON types, every field checked.

        Raises:
            CheckpointCorrupt: a field is missing, too many, or of another type.
        """
        fields = ("path", "bytes", "header_bytes", "header_digest", "pieces")
        if not isinstance(value, dict) or set(value) - {"earlier"} != set(fields) or not isinstance(value["pieces"], list):
            raise _refused("the report of a file", f"an object with {', '.join(fields)}", repr(value)[:200])
        path, nbytes, header_bytes, header_digest, pieces = (value[field] for field in fields)
        if not isinstance(path, str) or not _is_count(nbytes) or not _is_count(header_bytes) or not _is_digest(header_digest):
            raise _refused(
                "the report of a file", "a path, two sizes and a digest", repr((path, nbytes, header_bytes, header_digest))[:200]
            )
        earlier = value.get("earlier", [])
        if not isinstance(earlier, list) or ("earlier" in value and not earlier):
            raise _refused(path, "earlier files as a list of some", repr(earlier)[:200])
        own = tuple(_piece_from_json(path, piece) for piece in pieces)
        return cls(path, nbytes, header_bytes, header_digest, own, tuple(map(Earlier.from_json, earlier)))


def _piece_to_json(report: PieceReport) -> list[Any]:
    piece = report.piece
    return [piece.tensor, piece.row_start, piece.row_stop, report.offset, report.nbytes, report.digest]


def _piece_from_json(path: str, value: Any) -> PieceReport:
    if isinstance(value, list) and len(value) == 6:
        tensor, row_start, row_stop, offset, nbytes, digest = value
        counts = (row_start, row_stop, offset, nbytes)
        if isinstance(tensor, str) and all(_is_count(count) for count in counts) and _is_digest(digest):
            return PieceReport(Piece(tensor, row_start, row_stop), offset, nbytes, digest)
    raise _refused(path, "pieces as [tensor, row_start, row_stop, offset, bytes, digest]", repr(value)[:200])


def header(entries: Sequence[tuple[Piece, TensorSpec]]) -> bytes:
    """The safetensors header of a file that holds these pieces one after another, padded with spaces to a multiple of 4096 bytes.

    A whole tensor goes under its own name, rows of one under `name[start:stop]`.

    Raises:
        ValueError: two entries would share a name, or the header would pass 100 MB.
    """
    table: dict[str, Any] = {"__metadata__": {"written_by": "disttrain"}}
    at = 0
    for piece, spec in entries:
        dtype = DTYPES[spec.dtype]
        whole = (piece.row_start, piece.row_stop) == (0, spec.rows)
        key = spec.name if whole else f"{spec.name}[{piece.row_start}:{piece.row_stop}]"
        if key in table:
            raise ValueError(f"two entries of a file would be named {key!r}: rename one of the tensors.")
        nbytes = piece_bytes(piece, spec)
        shape = [*((piece.row_stop - piece.row_start, *spec.shape[1:]) if spec.shape else ()), *((2,) if dtype.is_paired else ())]
        table[key] = {"dtype": dtype.stored, "shape": shape, "data_offsets": [at, at + nbytes]}
        at += nbytes
    text = json.dumps(table, separators=(",", ":")).encode()
    length = -(-(8 + len(text)) // ALIGN_BYTES) * ALIGN_BYTES - 8
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"the header of a file with {len(entries)} pieces takes {length} bytes: expected at most {MAX_HEADER_BYTES}.")
    return length.to_bytes(8, "little") + text.ljust(length)


def piece_bytes(piece: Piece, spec: TensorSpec) -> int:
    """Bytes of a piece."""
    return (piece.row_stop - piece.row_start) * spec.row_bytes


def digest_of(data: bytes | memoryview) -> str:
    """xxh3_128 of bytes, 32 hex digits. Guards against faults, not against people."""
    return xxhash.xxh3_128(data).hexdigest()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_FILE_BYTES


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 32 and set(value) <= set("0123456789abcdef")


def _refused(path: str, expected: str, found: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(explain(f"{path} is described wrongly.", expected=expected, found=found, remedy="an older checkpoint"))
