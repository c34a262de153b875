"""A local path may be another disk on another host: that it is one and the same is proved by files, both ways, before anybody trusts it.

The driver leaves a random word in the run directory. A worker that does not live in the driver's view of the file system reads it there
and leaves its own beside, which the driver looks for. An object store needs none of that: its URL means the same everywhere.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from disttrain.checkpoint.store import Store
from disttrain.errors import RunNotShared

FOLDER = "place"
_TRIES = 5  # a network file system may hear of a new folder a little later
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Proof:
    """What the driver left.

    Args:
        run_dir: a path.
        nonce: 32 hex digits; a folder of `place/` and the content of what lies in it.
        host: the driver's.
        view: the driver's view of the file system, see `own_view`.
    """

    run_dir: str
    nonce: str
    host: str
    view: str

    def path(self, name: str) -> str:
        """The file of the driver or of a worker."""
        return f"{FOLDER}/{self.nonce}/{name}"


def own_view() -> str:
    """Equal for two processes for which every path leads to the same file: the boot, the mounts and the root; "" where it is not known."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        root = os.stat("/")
        return f"{boot} {os.readlink('/proc/self/ns/mnt')} {root.st_dev} {root.st_ino}"
    except OSError:
        return ""


def leave_proof(store: Store) -> Proof | None:
    """In the driver: the word for workers to find; None where the URL means the same everywhere."""
    if not store.is_local:
        return None
    store.delete_folder(FOLDER)  # what drivers left that were killed
    proof = Proof(store.root, secrets.token_hex(16), socket.gethostname(), own_view())
    store.create(proof.path("driver"), proof.nonce.encode())
    return proof


def show(proof: Proof | None, worker: str, *, pause: Callable[[float], None] = time.sleep) -> bool:
    """In a worker: find the driver's word, and leave one; is the driver to look for that? May be repeated.

    Raises:
        RunNotShared: another disk is there, or none. Nothing was written to it.
    """
    if proof is None or (proof.view and own_view() == proof.view):
        return False
    store = Store(proof.run_dir)
    for attempt in range(_TRIES):
        if _holds(store, proof, "driver"):
            break
        if attempt == _TRIES - 1:
            found = (
                "another folder of that name: what the driver wrote there is not in it"
                if store.list("")
                else "no such folder, or an empty one"
            )
            raise refusal(store.root, socket.gethostname(), proof.host, found)
        pause(_PAUSE_S)
    store.create(proof.path(worker), proof.nonce.encode())
    return True


def check_shown(store: Store, proof: Proof, worker: str, host: str) -> RunNotShared | None:
    """In the driver: why the place where a worker says that it has left its word is not the same; None if it is."""
    if _holds(store, proof, worker):
        return None
    found = "a copy: the worker reads what the driver wrote there, but the driver does not see what the worker wrote"
    return refusal(store.root, host, proof.host, found)


def refusal(path: str, host: str, driver_host: str, found: str) -> RunNotShared:
    """The error for a worker on `host`."""
    return RunNotShared(
        f"{path} on {host} is not the run directory of the driver on {driver_host}: checkpoints would be torn apart.\n"
        "  expected  one storage that all hosts see at that path\n"
        f"  found     {found}\n"
        "  try       --run-dir on a shared file system, or with the URL of an object store, such as s3://bucket/run"
    )


def _holds(store: Store, proof: Proof, name: str) -> bool:
    try:
        if store.read(proof.path(name)) == proof.nonce.encode():
            return True
    except OSError:
        pass
    store.list(FOLDER)  # makes a network file system ask its server
    return False
