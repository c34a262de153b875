"""Two machines on one network, for tests: network namespaces with an address each, joined by a cable that leads nowhere else.

The first is where a run trains, the second is a stranger's. A namespace has its own loopback, so what listens there is out of the other's
reach; processes and files are shared.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

VICTIM, STRANGER = "10.214.0.1", "10.214.0.2"


class TwoNetworks:
    """Made on the way in, removed on the way out. Processes inside are their starters' to end."""

    def __init__(self) -> None:
        self._names = {VICTIM: f"dt{os.getpid()}v", STRANGER: f"dt{os.getpid()}s"}

    def __enter__(self) -> TwoNetworks:
        victim, stranger = self._names.values()
        try:
            for name in (victim, stranger):
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", victim, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", stranger)
            for address, name in self._names.items():
                _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
                _ip("-n", name, "link", "set", "eth0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def at(self, address: str) -> list[str]:
        """What to put before a command that shall run at that address."""
        return ["ip", "netns", "exec", self._names[address]]


def why_not() -> str | None:
    """Why there can be no network namespaces here; None if there can."""
    if shutil.which("ip") is None:
        return "no network namespaces: there is no `ip` (iproute2)"
    probe = f"dt{os.getpid()}p"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespaces: {made.stderr.strip() or 'ip netns add failed'}"
    inside = subprocess.run(["ip", "netns", "exec", probe, "true"], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "delete", probe], capture_output=True, check=False)
    return f"no network namespaces: {inside.stderr.strip()}" if inside.returncode else None


def _ip(*words: str) -> None:
    done: subprocess.CompletedProcess[str] = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


__all__: Sequence[str] = ["STRANGER", "VICTIM", "TwoNetworks", "why_not"]
