"""Files on a local or mounted file system, written so that a power cut leaves all of a file or none of it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Sequence

from disttrain.checkpoint.arrays import Bytes

_READ_BYTES = 1 << 20  # stays in the cache until it is hashed
_WRITE_BYTES = 1 << 30  # Linux writes at most 2 GiB - 4 KiB a call


class LocalFiles:
    """A file system that has fsync and, almost always, hard links."""

    def create(self, path: str, data: bytes) -> bool:
        """A temporary file is linked to its name, which fails if the name exists: no reader ever sees a part of it."""
        folder = os.path.dirname(path)
        make_folder(folder)
        temporary = _write_temporary(folder, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return self._holds(path, data)
        except OSError:  # EPERM, EMLINK, EXDEV ...: each file system without links has its own; should the disk be at fault, the next tells
            return self._create_in_place(path, data)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        _sync_folder(folder)
        return True

    def put(self, path: str, data: bytes) -> None:
        """A temporary file is renamed over the old one."""
        folder = os.path.dirname(path)
        make_folder(folder)
        temporary = _write_temporary(folder, data)
        try:
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(folder)

    def write(self, path: str, chunks: Sequence[bytes | memoryview]) -> None:
        """Bytes go straight to the final name: nothing refers to it yet."""
        make_folder(os.path.dirname(path))
        _write_new(path, chunks)
        _sync_folder(os.path.dirname(path))

    def append(self, path: str, data: bytes, at: int) -> int:
        """Write from byte `at` on, or from the end of a shorter file; what lies behind, such as half of an earlier try, is cut off."""
        folder = os.path.dirname(path)
        make_folder(folder)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            at = min(at, size)
            if size > at:
                os.ftruncate(descriptor, at)
            os.lseek(descriptor, at, os.SEEK_SET)
            _write_all(descriptor, memoryview(data))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if at == 0:
            _sync_folder(folder)
        return at + len(data)

    def read(self, path: str, start: int, stop: int | None) -> bytes:
        """Bytes from `start` to `stop`."""
        with open(path, "rb") as file:
            file.seek(start)
            return file.read() if stop is None else file.read(stop - start)

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, Bytes]], on_bytes: Callable[[int, Bytes], None]) -> None:
        """Read straight into the buffers."""
        with open(path, "rb", buffering=0) as file:
            for index, (offset, buffer) in enumerate(ranges):
                done = 0
                while done < buffer.size:
                    part = buffer[done : done + _READ_BYTES]
                    count = os.preadv(file.fileno(), [part.data], offset + done)
                    if count == 0:
                        raise EOFError(f"{path} ends at byte {offset + done}")
                    on_bytes(index, part[:count])
                    done += count

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return os.stat(path).st_size

    def list(self, folder: str) -> list[str]:
        """Names, without the temporary files that a kill may leave."""
        try:
            return [name for name in os.listdir(folder) if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def delete(self, path: str) -> None:
        """Remove a file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            _sync_folder(os.path.dirname(path))

    def delete_folder(self, folder: str) -> None:
        """Remove a folder. Not synced: what comes back after a power cut is swept again."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)

    def _holds(self, path: str, data: bytes) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.stat(path).st_size == len(data) and self.read(path, 0, None) == data
        return False

    def _create_in_place(self, path: str, data: bytes) -> bool:
        """Without hard links (exFAT, some FUSE mounts): as exclusive, but a kill may leave a part, which its digest then refuses.

        Also where a link was made and its reply was lost: then the file holds these bytes.
        """
        try:
            _write_new(path, [data])
        except FileExistsError:
            return self._holds(path, data)
        _sync_folder(os.path.dirname(path))
        return True


def make_folder(folder: str) -> None:
    """Make a folder and its parents, each durable in its own parent: a file is no safer than the name it is found by."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    if parent and parent != folder:
        make_folder(parent)
    try:
        os.mkdir(folder)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
    _sync_folder(parent)


def _write_temporary(folder: str, data: bytes) -> str:
    # in the same folder, so that the link or rename never crosses file systems
    temporary = os.path.join(folder, f".tmp-{secrets.token_hex(8)}")
    _write_new(temporary, [data])
    return temporary


def _write_new(path: str, chunks: Sequence[bytes | memoryview]) -> None:
    """Write and fsync a file that must not exist; remove it again if that fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            for chunk in chunks:
                _write_all(descriptor, memoryview(chunk))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no fsync of a folder
            raise
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, view: memoryview) -> None:
    """All of it: one `write` may take less than it was given."""
    done = 0
    while done < len(view):
        done += os.write(descriptor, view[done : done + _WRITE_BYTES])
