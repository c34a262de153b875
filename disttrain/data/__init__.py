"""Where samples come from, and which sample belongs to which step and virtual worker."""

from disttrain.data.feed import Feed, feed_of, source_of
from disttrain.data.plan import BatchPlan
from disttrain.data.py_dataset import PyDataset
from disttrain.data.resident import residing
from disttrain.data.shards import Shards, csv, images, json_lines, parquet, tar
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
    "Shards",
    "Source",
    "Stream",
    "StreamFeed",
    "StreamPlan",
    "StreamedSource",
    "csv",
    "example_of",
    "feed_of",
    "flatten",
    "images",
    "json_lines",
    "map_structure",
    "parquet",
    "residing",
    "rows_in",
    "source_of",
    "tar",
]
