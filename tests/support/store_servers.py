"""Real servers of storage on loopback, each a process of its own, and what fsspec is told to reach them.

`make test-stores` installs them into build/stores; another folder is named by DISTTRAIN_STORES. What is not there is not started, and said.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launching import HANGS_AFTER_S

PLACE = Path(os.environ.get("DISTTRAIN_STORES") or Path(__file__).resolve().parents[2] / "build" / "stores")
BUCKET = "bucket"


class Missing(Exception):
    """What a server or its client needs is not on this machine; the message says what."""


@dataclass
class Served:
    """A server that answers.

    Attributes:
        kind: its name in `SERVERS`.
        port: on loopback.
        refuses: does it refuse to create what exists?
        swaps: is a file that is replaced there in one piece at any moment?
        address: (URL of a folder, options of fsspec) through a port: its own, or that of a proxy before it.
        restart: stop it as a crash would, and start it again.
    """

    kind: str
    port: int
    address: Callable[[int], tuple[str, dict[str, Any]]]
    restart: Callable[[], None]
    refuses: bool = True
    swaps: bool = True

    def at(self, folder: str, port: int | None = None) -> tuple[str, dict[str, Any]]:
        """The URL of a folder in it, and the options; through the proxy that listens at `port`, if one is named."""
        url, options = self.address(port or self.port)
        return f"{url}/{folder}", options


@dataclass
class _Process:
    command: list[str]
    port: int
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + HANGS_AFTER_S
        while not _answers(self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"{self.command[0]} does not answer: {(self.folder / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _program(*names: str) -> str:
    """Of those that `make test-stores` installs, or of the machine's own."""
    for name in names:
        for path in (PLACE / "bin" / name, PLACE / "node_modules" / ".bin" / name):
            if path.exists():
                return str(path)
        if (found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")) is not None:
            return found
    raise Missing(f"no {names[0]}: make test-stores installs it")


def _client(module: str, package: str) -> None:
    try:
        __import__(module)
    except ImportError:
        raise Missing(f"no {package}: make test-stores installs it") from None


# -- the servers --------------------------------------------------------------------------------------------------------------------------


def _s3(port: int, key: str = "key", secret: str = "secret") -> tuple[str, dict[str, Any]]:
    return f"s3://{BUCKET}", {
        "key": key,
        "secret": secret,
        "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"},
        "config_kwargs": {"s3": {"addressing_style": "path"}, "retries": {"max_attempts": 0}},
    }


def _bucket(url: str, options: dict[str, Any]) -> None:
    import fsspec

    files, path = fsspec.core.url_to_fs(url, **options)
    if files.exists(path):
        return
    if url.startswith("s3://"):
        files.call_s3("create_bucket", Bucket=path)  # mkdir would name the region, which in this one is refused
    else:
        files.mkdir(path)


def _ministack(folder: Path) -> tuple[_Process, dict[str, Any]]:
    _client("s3fs", "s3fs")
    port = free_port()
    environment = {
        "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "s3", "IOT_MTLS_ENABLED": "0", "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "data"),
    }  # fmt: skip
    return _Process([_program("ministack")], port, folder, environment), {"address": _s3}


def _moto(folder: Path) -> tuple[_Process, dict[str, Any]]:
    _client("s3fs", "s3fs")
    port = free_port()
    return _Process([_program("moto_server"), "-H", "127.0.0.1", "-p", str(port)], port, folder), {"address": _s3}


def _rclone_s3(folder: Path) -> tuple[_Process, dict[str, Any]]:
    """A deliberately bad one: it ignores the condition of a create, and a reader may see half of what replaces a file."""
    _client("s3fs", "s3fs")
    port = free_port()
    (folder / "data" / BUCKET).mkdir(parents=True, exist_ok=True)
    command = [_program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "key,secret", str(folder / "data")]
    return _Process(command, port, folder, _no_settings(folder)), {"address": _s3, "refuses": False, "swaps": False}


def _azurite(folder: Path) -> tuple[_Process, dict[str, Any]]:
    _client("adlfs", "adlfs")
    port = free_port()
    command = [
        _program("azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder / "data"),
        "--skipApiVersionCheck", "--disableTelemetry", "--silent",
    ]  # fmt: skip
    # the account and key that the emulator's makers publish: they open nothing else
    known = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def address(port: int) -> tuple[str, dict[str, Any]]:
        where = f"http://127.0.0.1:{port}/devstoreaccount1"
        words = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={known};BlobEndpoint={where};"
        return f"abfs://{BUCKET}", {"connection_string": words, "account_name": "devstoreaccount1"}

    return _Process(command, port, folder), {"address": address}


def _gcs(folder: Path) -> tuple[_Process, dict[str, Any]]:
    """It ignores the condition of a create."""
    _client("gcsfs", "gcsfs")
    port = free_port()
    command = [_program("gcp-storage-emulator"), "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory"]

    def address(port: int) -> tuple[str, dict[str, Any]]:
        return f"gs://{BUCKET}", {"endpoint_url": f"http://127.0.0.1:{port}", "token": "anon", "project": "project"}

    return _Process(command, port, folder), {"address": address, "refuses": False}


def _webdav(folder: Path) -> tuple[_Process, dict[str, Any]]:
    _client("webdav4.fsspec", "webdav4")
    port = free_port()
    (folder / "data" / BUCKET).mkdir(parents=True, exist_ok=True)
    command = [_program("rclone"), "serve", "webdav", "--addr", f"127.0.0.1:{port}", str(folder / "data")]

    def address(port: int) -> tuple[str, dict[str, Any]]:
        return f"webdav://{BUCKET}", {"base_url": f"http://127.0.0.1:{port}", "timeout": HANGS_AFTER_S}

    return _Process(command, port, folder, _no_settings(folder)), {"address": address, "swaps": False}


def _sftp(folder: Path) -> tuple[_Process, dict[str, Any]]:
    _client("paramiko", "paramiko")
    port, sshd = free_port(), _program("sshd")
    for name in ("host", "user"):
        if not (folder / name).exists():
            subprocess.run([_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "sshd.conf").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nAuthorizedKeysFile {folder}/authorized\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\nStrictModes no\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd's own, which its package leaves to the init system
    import getpass

    def address(port: int) -> tuple[str, dict[str, Any]]:
        options = {"port": port, "username": getpass.getuser(), "key_filename": str(folder / "user"), "look_for_keys": False}
        return f"sftp://127.0.0.1{folder}/data", {**options, "allow_agent": False}

    (folder / "data").mkdir(exist_ok=True)
    return _Process([sshd, "-D", "-e", "-f", str(folder / "sshd.conf")], port, folder), {"address": address, "swaps": False}


def _no_settings(folder: Path) -> dict[str, str]:
    return {"RCLONE_CONFIG": str(folder / "rclone.conf")}


SERVERS: dict[str, Callable[[Path], tuple[_Process, dict[str, Any]]]] = {
    "azurite": _azurite,
    "gcs emulator": _gcs,
    "ministack": _ministack,
    "moto": _moto,
    "rclone s3": _rclone_s3,
    "sftp": _sftp,
    "webdav": _webdav,
}


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[Served]:
    """One of `SERVERS`, for the block.

    Raises:
        Missing: it is not on this machine, or what speaks to it is not.
    """
    process, about = SERVERS[kind](folder)
    process.start()
    try:
        served = Served(kind, process.port, restart=process.restart, **about)
        if kind not in ("sftp", "webdav", "rclone s3"):  # whose folders are there
            _bucket(*served.address(served.port))
        yield served
    finally:
        process.stop()
