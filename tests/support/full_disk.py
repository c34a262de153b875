"""A command that sees a full disk: a small one of its own, mounted where nobody else sees it."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

_MAY_MOUNT = ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount() -> bool:
    """May this user mount a disk for a process of its own?"""
    try:
        return subprocess.run([*_MAY_MOUNT, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def on_a_full_disk(folder: Path, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command with a full disk at `folder`."""
    place = shlex.quote(str(folder))
    steps = f"mount -t tmpfs -o size=1m none {place} && {{ cat /dev/zero > {place}/full 2> /dev/null; {shlex.join(command)}; }}"
    return subprocess.run([*_MAY_MOUNT, "sh", "-c", steps], capture_output=True, text=True, check=False, env=environment, cwd=folder.parent)
