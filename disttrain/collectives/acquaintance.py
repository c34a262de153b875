"""Members know each other before they trust what comes over a new connection.

gloo takes whoever connects first, and says a small number, for the peer that it waits for. So before anything else is sent, each member
shows each other one what only a member of this run can say of the two of them in this forming. Whoever does not know the secret of the run
can delay a forming, and is found out; what it sends is never added to a gradient, and it is sent nothing but such a proof, which is good
for this one forming. nccl needs none of this: what its members connect with comes out of the store of the run.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

import torch

from disttrain.collectives.compat import CONNECTING, Transport


def introduced(transport: Transport, proof: Callable[[str], bytes], rank: int, size: int) -> Transport:
    """The same transport, now that every member has proved to this one who it is. Waits in native code.

    Args:
        proof: of words, under the name of this forming.

    Raises:
        RuntimeError: one could not, or is gone.
    """
    ours = b"".join(proof(f"{rank} to {peer}") for peer in range(size))
    expected = b"".join(proof(f"{peer} to {rank}") for peer in range(size))
    sent, received = torch.frombuffer(bytearray(ours), dtype=torch.uint8), torch.zeros(len(expected), dtype=torch.uint8)
    lengths = [len(ours) // size] * size
    work = transport.all_to_all(received, sent, lengths, lengths, int(CONNECTING.total_seconds()))
    work.wait()
    if not hmac.compare_digest(received.numpy().tobytes(), expected):
        raise RuntimeError("somebody who does not know the secret of this run has connected in the place of a member")
    return transport
