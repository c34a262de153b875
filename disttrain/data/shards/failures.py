"""What reading a shard ends with when it cannot be done: by name, with what to do."""

from __future__ import annotations

from disttrain.errors import DataError, StorageUnavailable


def gave_up(error: Exception, what: str, attempts: int) -> Exception:
    """What is raised in the end of what a storage, or a library that reads it, raised `attempts` times."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{what} is not there: {error}\n  expected  the files that the source was made of, for as long as the run lasts")
    if isinstance(error, PermissionError):
        return DataError(f"{what} may not be read: {error}\n  try       storage_options=, or credentials on every host")
    if isinstance(error, ImportError):
        return DataError(f"{what} cannot be read: {error}")
    if isinstance(error, OSError) or "timeout" in type(error).__name__.lower() or not isinstance(error, ValueError | EOFError):
        return StorageUnavailable(
            f"{what} could not be read, {attempts} times: {type(error).__name__}: {error}\n"
            "  try       the same command again, when its storage answers: a run goes on where it stood"
        )
    return DataError(
        f"{what} is damaged or cut short: {type(error).__name__}: {error}\n"
        "  expected  a whole file, as it was when the source was made\n"
        "  try       writing it once more; or leaving it out of the list, and --restart, since the order is then another one"
    )


def changed(what: str, found: int, expected: int) -> DataError:
    """A block that holds other rows than it did."""
    return DataError(
        f"{what} holds {found} samples, and held {expected} when the source was made: it has changed, or is cut short.\n"
        "  expected  files that stay as they are for as long as a run lasts\n"
        "  try       writing it once more; or --restart, to begin anew with the files as they are"
    )
