"""Members know each other before they trust what comes over a new connection."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch.distributed as dist

from disttrain.collectives.acquaintance import introduced
from disttrain.collectives.compat import Gloo
from disttrain.collectives.store_server import proof


def formed(secrets: list[bytes]) -> list[Any]:
    """A gloo group of members that know these secrets, each on a thread: what became of the introductions."""
    store, results = dist.HashStore(), [None] * len(secrets)

    def member(rank: int, secret: bytes) -> None:
        transport = Gloo(store, rank, len(secrets), "127.0.0.1")
        try:
            results[rank] = introduced(transport, lambda words: proof(secret, words.encode()), rank, len(secrets))
        except RuntimeError as error:
            results[rank] = str(error)

    threads = [threading.Thread(target=member, args=item) for item in enumerate(secrets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_members_that_know_the_secret_go_on():
    assert all(isinstance(result, Gloo) for result in formed([b"secret"] * 3))


@pytest.mark.parametrize("stranger", range(3))
def test_one_that_does_not_know_it_is_found_out_by_everybody(stranger):
    secrets = [b"secret"] * 3
    secrets[stranger] = b"guessed"
    assert all("does not know the secret" in result for result in formed(secrets))
