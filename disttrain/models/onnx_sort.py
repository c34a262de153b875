"""A stable sort for ONNX, which PyTorch's own exporter lacks: recurrent layers put masked steps last with one."""

from __future__ import annotations

from typing import Any

import torch


def stable_sort_translation() -> dict[Any, Any]:
    """{`aten.sort.stable`: how ONNX says it}, for `torch.onnx.export(custom_translation_table=...)`."""
    import onnxscript

    op: Any = onnxscript.opset18

    def aten_sort_stable(self: Any, stable: bool = False, dim: int = -1, descending: bool = False) -> Any:
        values = op.Cast(self, to=6) if self.dtype == onnxscript.ir.DataType.BOOL else self  # 6: int32, since TopK takes no bools
        size = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
        # TopK puts the lower index first where values are equal, so it is stable.
        sorted_values, indices = op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)
        if values is not self:
            sorted_values = op.Cast(sorted_values, to=9)  # bool
        return sorted_values, indices

    return {torch.ops.aten.sort.stable: aten_sort_stable}
