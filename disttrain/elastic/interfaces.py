"""Which network interface of this machine has an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psutil


def interface_of(address: str, interfaces: Mapping[str, Any] | None = None) -> str | None:
    """Its name, such as "eth0"; None where none has it, behind a translation of addresses say.

    NCCL listens on an interface, not at an address, and takes the first one that looks good to it: often one that the others do not reach.

    Args:
        address: of this machine, as the others know it.
        interfaces: their addresses by name; the default asks the system.
    """
    for name, addresses in (psutil.net_if_addrs() if interfaces is None else interfaces).items():
        if any(each.address.partition("%")[0] == address for each in addresses):
            return name
    return None
