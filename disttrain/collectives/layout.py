"""How the numbers that a slice contributes lie in one buffer of bytes: typed sections, each on a border."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ALIGNMENT = 64  # bytes: a cache line, and what torch's own allocations give; kernels choose their path by alignment


def aligned(size_bytes: int, to: int = ALIGNMENT) -> int:
    """`size_bytes` rounded up to a multiple of `to`."""
    return -(-size_bytes // to) * to


@dataclass(frozen=True, slots=True)
class Section:
    """A run of `numel` numbers of one dtype, `offset` bytes into the buffer."""

    dtype: torch.dtype
    offset: int
    numel: int

    @property
    def stop(self) -> int:
        return self.offset + self.numel * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Layout:
    """The sections of a contribution, and its size in bytes."""

    sections: tuple[Section, ...]
    size_bytes: int

    @staticmethod
    def of(parts: list[tuple[torch.dtype, int]], border: int = ALIGNMENT) -> Layout:
        """Sections of the given (dtype, numel), one after the other, each on a border of so many bytes, a multiple of `ALIGNMENT`."""
        sections, offset = [], 0
        for dtype, numel in parts:
            sections.append(Section(dtype, offset, numel))
            offset = aligned(sections[-1].stop, border)
        return Layout(tuple(sections), offset)

    def views(self, buffer: Tensor) -> list[Tensor]:
        """`buffer` (uint8) as one flat tensor for each section."""
        return [buffer[s.offset : s.stop].view(s.dtype) for s in self.sections]

    def cut(self, start: int, stop: int) -> list[tuple[torch.dtype, int, int]]:
        """The parts of the sections that lie in bytes [start, stop), as (dtype, first byte, last byte + 1); borders are aligned."""
        parts = []
        for section in self.sections:
            first, last = max(start, section.offset), min(stop, section.stop)
            if first < last:
                parts.append((section.dtype, first, last))
        return parts
