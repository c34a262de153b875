"""Where this process computes: CUDA where it is there, unless the script says otherwise or has put its model somewhere itself."""

from __future__ import annotations

import torch

from disttrain.devices.asked import DEVICES, NO_MPS
from disttrain.errors import UsageError

_asked = "auto"
_found: torch.device | None = None  # what "auto" comes to: no machine gets a GPU while a process runs


def set_device(device: str) -> None:
    """Let this process compute on "cpu" or "cuda", or on CUDA where it is there ("auto", as it is without this).

    Weights move there at the next fit, evaluate or predict. Under `disttrain launch`, `--device` says where workers compute, and a script
    that asks for another one here is refused.

    Raises:
        UsageError: another name, or Apple's, which lacks what is needed.
    """
    global _asked
    if device not in DEVICES:
        raise UsageError(f"set_device({device!r}): expected {', '.join(map(repr, DEVICES[:-1]))} or {DEVICES[-1]!r}.")
    if device == "mps":
        raise UsageError(f"set_device('mps'): {NO_MPS}")
    _asked = device


def asked_device() -> str:
    """What the script asked for; "auto" where it did not."""
    return _asked


def home(weights_on: torch.device | None) -> torch.device:
    """Where a model is to compute whose weights lie on `weights_on`, None where it has none.

    Raises:
        UsageError: the device cannot carry a training, or is not there.
    """
    if _asked == "cpu":
        return torch.device("cpu")
    if weights_on is not None and weights_on.type != "cpu":
        refuse_mps(weights_on)
        return weights_on  # the script has put it there
    if _asked == "cuda":  # not asked as it is said: the driver of a launch needs none
        _need_cuda()
    return _auto()


def refuse_mps(device: torch.device) -> None:
    """Raise UsageError for Apple's, which lacks what is needed."""
    if device.type == "mps":
        raise UsageError(f"the model lies on {device}: {NO_MPS}")


def in_words(device: torch.device) -> str | None:
    """What training on it is called; None for a CPU, of which nobody need be told."""
    return f"training on 1 x {torch.cuda.get_device_name(device)}" if device.type == "cuda" else None


def _auto() -> torch.device:
    global _found
    if _found is None:
        _found = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return _found


def _need_cuda() -> None:
    if torch.cuda.is_available():
        return
    built = "is built without CUDA" if torch.version.cuda is None and torch.version.hip is None else "finds no GPU that it can use"
    raise UsageError(
        f"set_device('cuda'): torch {torch.__version__} {built} here.\n"
        "  expected  a GPU, its driver, and a build of torch for it\n"
        "  try       nvidia-smi, which lists what the driver knows; or set_device('cpu')"
    )
