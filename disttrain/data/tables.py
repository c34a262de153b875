"""Tables of columns, as Arrow has them: inputs by the name of the column."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_table(x: Any) -> bool:
    """An Arrow table or record batch."""
    return type(x).__module__.startswith("pyarrow.") and hasattr(x, "column_names") and hasattr(x, "column")


def columns_of(table: Any) -> dict[str, Any]:
    """The columns of an Arrow table as arrays, by name; columns of lists of one length have a second axis."""
    return {name: _array(table.column(name)) for name in table.column_names}


def _array(column: Any) -> Any:
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
        if hasattr(column, "chunks"):  # of an older Arrow
            column = column.chunk(0) if column.num_chunks else column
    kind = str(column.type)
    if kind.startswith(("fixed_size_list", "list", "large_list")) and len(column):
        lengths = {len(row) for row in column}
        if len(lengths) == 1:
            return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), lengths.pop())
    return column.to_numpy(zero_copy_only=False)
