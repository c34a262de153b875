"""Every error of the package, one tree:

    DisttrainError
      UsageError (ValueError)        what a person passed in is wrong, so no retry can mend it: exit code 2
        RunMismatch                  the run directory belongs to another script, another V, another model
        RunUnwritable                the run directory cannot be written
        RunNotShared                 the run directory is another disk on another host
        DataError                    arrays of unequal length, labels outside the classes
        NonFiniteLoss                the loss became NaN or infinite: named with its step
        NondeterministicStep         a step gives other bits each time it is done
        OutOfDeviceMemory            a step that does not fit into the memory of a GPU
        DeviceAssert                 a check inside a kernel of a GPU has failed
      CheckpointError
        CheckpointIncomplete         shards or manifest are missing
        CheckpointCorrupt            bytes do not match their checksum
        CheckpointMismatch           sound, but for another model
      InfrastructureError            nothing the script did: exit code 3, run it again
        NotEnoughWorkers
        RunInUse                     another live driver holds the run directory
        StorageUnavailable           the storage does not answer, has no room, or there are no credentials yet
        PoisonBatch                  the same step killed worker after worker
    KeyboardInterrupt
      Interrupted                    Ctrl-C or SIGTERM: exit code 130

Errors cross processes: each keeps its message as its only positional argument, so each pickles.
"""

from __future__ import annotations

from disttrain.redaction import hidden


class DisttrainError(Exception):
    """Base of the tree. Its words hide what looks like a secret: a URL with a password, say."""

    exit_code = 1

    def __str__(self) -> str:
        return hidden(super().__str__())


class UsageError(DisttrainError, ValueError):
    """What a person passed in is wrong; the message says what, what was expected, and what to do."""

    exit_code = 2


class RunMismatch(UsageError):
    """The run directory belongs to another script, another number of virtual workers, or another model."""


class RunUnwritable(UsageError):
    """The run directory cannot be written, and no retry will change that."""


class RunNotShared(UsageError):
    """The path of the run directory leads to another disk on a worker's host than on the driver's."""


class DataError(UsageError):
    """Training data that does not fit together or does not fit the model."""


class NonFiniteLoss(UsageError):
    """The loss became NaN or infinite; `loss` is it."""

    loss: float = float("nan")


class NondeterministicStep(UsageError):
    """A step gives other bits each time it is done from the same state, so no worker can be checked against another."""


class OutOfDeviceMemory(UsageError):
    """A step does not fit into the memory of a GPU, and no other process holds it."""


class DeviceAssert(UsageError):
    """A check inside a kernel of a GPU has failed: an index outside its range, most often. Its process can use the GPU no more."""


class CheckpointError(DisttrainError):
    """A checkpoint cannot be written or restored."""

    exit_code = 3


class CheckpointIncomplete(CheckpointError):
    """Shards or the manifest are missing: the save was cut short."""


class CheckpointCorrupt(CheckpointError):
    """Bytes do not match their checksum."""


class CheckpointMismatch(CheckpointError):
    """The checkpoint is sound, but belongs to another model."""

    exit_code = 2


class InfrastructureError(DisttrainError):
    """Nothing the script did: run the same command again."""

    exit_code = 3


class NotEnoughWorkers(InfrastructureError):
    """Fewer workers than the minimum, for longer than the limit."""


class RunInUse(InfrastructureError):
    """Another live driver holds the run directory: once that one has ended, or its machine is given up, the same command goes on."""


class StorageUnavailable(InfrastructureError):
    """Where the run is kept cannot be reached or has no room now; another time it may."""


class PoisonBatch(InfrastructureError):
    """The same step killed worker after worker."""

    exit_code = 1


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; a checkpoint was committed where there was time."""

    exit_code = 130
