"""Parquet: a block is a row group, of which the columns that are asked for are read."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disttrain.data.shards.blocks import Span
from disttrain.data.shards.files import Files
from disttrain.data.shards.formats import Columns
from disttrain.errors import DataError

_ENDS = 64  # of files that are kept


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet  # late: an extra
    except ImportError:
        raise DataError("parquet(...) needs pyarrow, which is not installed.\n  try       pip install 'disttrain[parquet]'") from None
    return parquet


class ParquetFormat:
    """Tables in Parquet.

    Args:
        columns: those that are read; None: all.
    """

    name, columnar, keeps = "Parquet", True, False

    def __init__(self, columns: list[str] | None) -> None:
        self.columns = columns
        self._ends: OrderedDict[int, Any] = OrderedDict()  # of files: what lies where in them
        _parquet()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ends": OrderedDict()}

    @property
    def settings(self) -> str:
        return "parquet"

    def look(self, files: Files, number: int) -> list[Span]:
        """Its row groups, as the end of the file tells them, which is all that is read of it."""
        with files.open(number, 1 << 16) as stream:
            metadata = _parquet().read_metadata(stream)
        schema = metadata.schema.to_arrow_schema()
        for column in self.columns or ():
            if column not in schema.names:
                raise DataError(f"{files.urls[number]} has no column {column!r}.\n  expected  one of {', '.join(schema.names[:20])}")
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        return [(group, group + 1, held.num_rows, held.total_byte_size) for group, held in enumerate(groups) if held.num_rows]

    def load(self, files: Files, number: int, begin: int, end: int) -> Columns:
        with files.open(number) as stream:
            held = _parquet().ParquetFile(stream, pre_buffer=True, metadata=self._ends.get(number))
            self._ends[number] = held.metadata
            while len(self._ends) > _ENDS:
                self._ends.popitem(last=False)
            if held.metadata.num_row_groups <= begin:
                return Columns({})
            table = held.read_row_group(begin, columns=self.columns, use_threads=False)
        missing = [column for column in self.columns or () if column not in table.column_names]
        if missing:
            raise DataError(f"{files.urls[number]} has no column {missing[0]!r} any more.")
        where = f"row group {begin} of {files.urls[number]}"
        return Columns({name: _array(table.column(name), name, where) for name in table.column_names})

    def sample(self, row: Any, where: str) -> dict[str, Any]:
        return row  # type: ignore[no-any-return]


def _array(column: Any, name: str, where: str) -> NDArray[Any]:
    """A column as an array, of two axes or more where its rows are lists of one length; of objects where they are not."""
    import pyarrow as arrow  # late: an extra

    if arrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    nulls = column.null_count
    if nulls and not arrow.types.is_floating(column.type):
        first = column.is_null().to_pylist().index(True)
        raise DataError(
            f"the column {name!r} has no value in {nulls} rows of {where}, the first of them row {first} there.\n"
            "  expected  a value in each row; only numbers in floating point may be missing, and are NaN\n"
            "  try       filling them in where the table is written, or leaving the column out: columns=[...]"
        )
    column = column.combine_chunks()
    if hasattr(column, "chunks"):  # of an older Arrow
        column = column.chunk(0)
    kind = column.type
    if arrow.types.is_fixed_size_list(kind) or arrow.types.is_list(kind) or arrow.types.is_large_list(kind):
        inner = column.flatten()
        lengths = np.full(len(column), kind.list_size) if arrow.types.is_fixed_size_list(kind) else np.diff(column.offsets.to_numpy())
        if len(set(lengths.tolist())) == 1:
            flat = _array(arrow.chunked_array([inner]), name, where)
            return flat.reshape(len(column), int(lengths[0]), *flat.shape[1:])
        rows = np.empty(len(column), dtype=object)
        for place, row in enumerate(column):
            rows[place] = _array(arrow.chunked_array([row.values]), name, where)
        return rows
    found: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found
