"""Where a launch computes: what it asks for, held against what this machine has and what the run began on. Before anything starts."""

from __future__ import annotations

from disttrain.devices import drivers
from disttrain.devices.asked import Asked, Choice, check_transport, choose_here, same_device
from disttrain.errors import UsageError
from disttrain.launch.config import RunConfig
from disttrain.launch.door import Entry


def compute_of(config: RunConfig, entry: Entry, read: drivers.Read | None = None) -> tuple[Asked, Choice | None]:
    """What is asked for, and the choice; None where that is known once the cluster is joined.

    Args:
        read: gives the GPUs that the driver knows; the default asks it.

    Raises:
        RunMismatch: the run began on another device.
        UsageError: this machine has not so much.
    """
    try:
        return _compute_of(config, entry, read)
    except UsageError:
        if entry.claimed:
            entry.directory.discard()  # made for a run that never will be
        raise


def _compute_of(config: RunConfig, entry: Entry, read: drivers.Read | None) -> tuple[Asked, Choice | None]:
    description = entry.description
    began = None if description is None or entry.fresh else description.versions.get("device", "cpu")
    asked = same_device(began, config.asked_device, entry.directory.run_dir)
    if config.address is not None:
        return asked, None
    choice = Choice()
    if asked.kind != "cpu":  # else nobody need be asked
        choice = choose_here(asked, drivers.gpus_here(read), drivers.torch_cuda(), drivers.torch_version())
    check_transport(config.transport, choice, asked.workers)
    return asked, choice


def check_script(asked: str, device: str) -> None:
    """Raise UsageError where a script asks for another device, by `set_device`, than its launch computes on."""
    if asked not in ("auto", device):
        raise UsageError(
            f"the script asks for {asked!r} by set_device, and this launch computes on {device}.\n"
            f"  expected  one of them\n"
            f"  try       --device {asked}, or a script without set_device"
        )
