"""Checkpoints: named arrays and JSON through fsspec, committed or not there at all. The format is described in FORMAT.md.

A save: `split` -> `snapshot` -> `write_shard` on each worker, `commit` on the driver. A load: `load` or `load_newest`.
"""

from disttrain.checkpoint.arrays import NamedArray, TensorSpec
from disttrain.checkpoint.attempts import Superseded, end_attempt, newest_number, read_attempts, record_resume, start_attempt
from disttrain.checkpoint.commit import CommittedCheckpoint, commit, new_save_nonce
from disttrain.checkpoint.digest import checkpoint_digest, fault_digest, weights_digest
from disttrain.checkpoint.history import Attempt, counts, last_sequences, valid_history
from disttrain.checkpoint.layout import CommitName, save_folder, shard_path
from disttrain.checkpoint.manifest import Manifest
from disttrain.checkpoint.partition import Piece, split
from disttrain.checkpoint.reader import (
    CheckpointInfo,
    Loaded,
    NewestWhole,
    bad_checkpoints,
    list_checkpoints,
    load,
    load_newest,
    mark_bad,
    newest_whole,
    read_history,
    verify,
)
from disttrain.checkpoint.retention import Deletions, plan_deletions
from disttrain.checkpoint.sealed import seal, unseal
from disttrain.checkpoint.shards import ShardReport
from disttrain.checkpoint.store import Store
from disttrain.checkpoint.sweep import sweep
from disttrain.checkpoint.writer import Arena, Snapshot, in_file_order, room_for, snapshot, write_shard

__all__ = [
    "Arena",
    "Attempt",
    "CheckpointInfo",
    "CommitName",
    "CommittedCheckpoint",
    "Deletions",
    "Loaded",
    "Manifest",
    "NamedArray",
    "NewestWhole",
    "Piece",
    "ShardReport",
    "Snapshot",
    "Store",
    "Superseded",
    "TensorSpec",
    "bad_checkpoints",
    "checkpoint_digest",
    "commit",
    "counts",
    "end_attempt",
    "fault_digest",
    "in_file_order",
    "last_sequences",
    "list_checkpoints",
    "load",
    "load_newest",
    "mark_bad",
    "new_save_nonce",
    "newest_number",
    "newest_whole",
    "plan_deletions",
    "read_attempts",
    "read_history",
    "record_resume",
    "room_for",
    "save_folder",
    "seal",
    "shard_path",
    "snapshot",
    "split",
    "start_attempt",
    "sweep",
    "unseal",
    "valid_history",
    "verify",
    "weights_digest",
    "write_shard",
]
