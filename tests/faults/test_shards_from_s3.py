"""Shards on an S3 server that fails while they are read: the same bits, and words where it never recovers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from s3_server import BUCKET, S3Server, s3_server
from shard_cases import BATCH, X, Y, npy, tar_of
from thread_runs import AtEpoch, EveryBatch, V, driven, make_model

import disttrain as dt
from disttrain.data.shards import files as shard_files
from disttrain.errors import StorageUnavailable
from disttrain.training.local import runner

pytest.importorskip("s3fs")
pytestmark = pytest.mark.faults


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shard_files, "_FIRST_PAUSE_S", 0.01)
    with s3_server() as running:
        for number, part in enumerate((slice(0, 11), slice(11, 34))):
            pairs = list(zip(X[part], Y[part], strict=True))
            running.objects[f"tar/{number}.tar"] = tar_of([{"npy": npy(x), "cls": str(y).encode()} for x, y in pairs], part.start)
            running.objects[f"lines/{number}.jsonl"] = b"".join(
                json.dumps({"x": x.tolist(), "y": int(y)}).encode() + b"\n" for x, y in pairs
            )
        yield running


def train(server: S3Server, callbacks: Any = None) -> tuple[Any, ...]:
    model = make_model()
    data = dt.data.tar(f"s3://{BUCKET}/tar/*.tar", "npy", "cls", storage_options=server.options())
    held_out = dt.data.json_lines(f"s3://{BUCKET}/lines/*.jsonl", "x", "y", storage_options=server.options())
    history = model.fit(data, batch_size=BATCH, epochs=2, verbose=0, validation_data=held_out, callbacks=callbacks)
    return model.digest(), history.history


def test_a_server_that_fails_every_other_read_changes_nothing_nor_does_a_death_meanwhile(server: S3Server):
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        expected = train(server)
    server.fails = lambda key, reads: reads % 2 == 0
    with driven(2) as driver:

        def kill() -> None:
            driver.cluster.kill("w1")

        assert train(server, [AtEpoch(0, kill), EveryBatch()]) == expected
        assert driver.events("worker lost") and server.failed >= 4


def test_a_server_that_never_recovers_ends_the_call_with_words_that_a_retry_may_mend(server: S3Server):
    server.fails = lambda key, reads: key.startswith("tar/1") and reads > 2
    with pytest.raises(StorageUnavailable, match=r"1.tar could not be read, 6 times") as raised:
        train(server)
    assert raised.value.exit_code == 3
