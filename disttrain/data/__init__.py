"""Where samples come from, and which sample belongs to which step and virtual worker."""

from disttrain.data.feed import Feed, feed_of, source_of
from disttrain.data.plan import BatchPlan
from disttrain.data.py_dataset import PyDataset
from disttrain.data.resident import residing
from disttrain.data.sources import ArraySource, DatasetSource, RangeSource, Source
from disttrain.data.stream_feed import StreamedSource, StreamFeed, example_of
from disttrain.data.stream_plan import StreamPlan
from disttrain.data.streams import Stream
from disttrain.data.structure import flatten, map_structure, rows_in

__all__ = [
    "ArraySource",
    "BatchPlan",
    "DatasetSource",
    "Feed",
    "PyDataset",
    "RangeSource",
    "Source",
    "Stream",
    "StreamFeed",
    "StreamPlan",
    "StreamedSource",
    "example_of",
    "feed_of",
    "flatten",
    "map_structure",
    "residing",
    "rows_in",
    "source_of",
]
