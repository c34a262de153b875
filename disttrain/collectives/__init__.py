"""Moving tensors between the workers of a generation: the port, its implementations, and the fixed reduction tree."""

from disttrain.collectives.port import Group, GroupBroken, Pending
from disttrain.collectives.solo import SoloGroup

__all__ = ["Group", "GroupBroken", "Pending", "SoloGroup"]
