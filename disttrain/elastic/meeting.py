"""Where the members of a generation meet: the driver's store, and torch's process groups over it."""

from __future__ import annotations

import logging
import socket
import threading

from disttrain.collectives import Group, GroupBroken
from disttrain.elastic import messages as m

_log = logging.getLogger(__name__)


def torch_group(command: m.Form, rank: int, backend: str, aborted: threading.Event) -> Group:
    """The generation as a torch process group, met through the store of the run.

    Each generation has a connection of its own: a forming that was given up goes on waiting inside the one it has.
    """
    from disttrain.collectives.run_store import RunStore  # late: a worker alone needs no sockets
    from disttrain.collectives.torch_group import TorchGroup

    assert command.store is not None
    where = f"{command.store.host}:{command.store.port}"
    try:
        store = RunStore(command.store)
    except RuntimeError as error:
        raise GroupBroken(f"the store of the run at {where} cannot be reached: {error}") from error
    generation = f"c{command.call}g{command.generation}"
    return TorchGroup(store, generation, rank, len(command.members), _own_address(command.store.host), backend, aborted)


def _own_address(towards: str) -> str:
    """The address of this machine on the way to `towards`; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, 9))
        return str(probe.getsockname()[0])


def close(group: Group) -> None:
    """Close it; one that fails at that must not leave a deaf worker with a living lease."""
    try:
        group.close()
    except Exception as error:  # whatever a communication library raises here, the group is gone for us
        _log.warning("closing a group failed: %s: %s", type(error).__name__, error)
