"""Samples in files by URL, read in blocks, each by the worker that needs it, in an order that a function tells."""

from disttrain.data.shards.dataset import Shards
from disttrain.data.shards.openers import csv, images, json_lines, parquet, tar
from disttrain.data.shards.source import ShardSource

__all__ = ["ShardSource", "Shards", "csv", "images", "json_lines", "parquet", "tar"]
