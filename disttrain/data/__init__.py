"""Where samples come from, and which sample belongs to which step and virtual worker."""

from disttrain.data.plan import BatchPlan
from disttrain.data.sources import ArraySource, DatasetSource, RangeSource, Source, source_of
from disttrain.data.structure import flatten, map_structure

__all__ = ["ArraySource", "BatchPlan", "DatasetSource", "RangeSource", "Source", "flatten", "map_structure", "source_of"]
