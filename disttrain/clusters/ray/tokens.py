"""The token that every process of a Ray must show, and what Ray is told of it: always, since its defaults differ from process to process.

(A `ray.init` that starts a Ray asks for a token and leaves one in the home folder, `ray start --head` asks if one can be found, and whoever
joins at an address shows none.) A Ray of our own gets a random one for the run, in a file that this user alone reads. One that is joined is
asked whether it wants one, and then Ray's own ways lead to it: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

from disttrain.errors import UsageError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"

Variables = dict[str, str | None]  # None: not set

FIRST = "2.52"  # the first Ray that knows of tokens

_PROBE_S = 3.0
_UNAUTHENTICATED = 16  # of gRPC's status codes


def put(variables: Variables) -> None:
    """Set them for this process and all that it starts; whoever starts a Ray puts its variables back."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def of_our_own(folder: str) -> Variables:
    """A new token in a file in that folder, and how Ray is told of it. No other token of the environment counts."""
    path = os.path.join(folder, "token")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return {MODE: "token", TOKEN_PATH: path, TOKEN: None}


def of_another(where: str | None, version: str | None = None) -> tuple[Variables, str | None]:
    """(how Ray is told of the token of a cluster that is joined, what its user should know about it).

    Args:
        where: "host:port"; None where that is not known.
        version: of a Ray that knows nothing of tokens; None for one that does.

    Raises:
        UsageError: the cluster asks for a token, and none, or another one, is here.
    """
    name = where or "this Ray"
    token, place = found_token()
    asks = asks_for_token(where) if where else None
    if os.environ.get(MODE):
        variables: Variables = {}
        shows = os.environ[MODE].lower() == "token"
    else:
        shows = asks or (asks is None and token is not None)
        variables = {MODE: "token" if shows else "disabled"}
    if (asks or shows) and (token is None or not shows):
        found = "none" if token is None else f"{MODE}={os.environ[MODE]}"
        wants = f"{name} asks for a token" if asks else f"{MODE}={os.environ[MODE]} shows a token to {name}, and there is none to show"
        raise UsageError(
            f"{wants}.\n"
            f"  expected  the token of that cluster in {TOKEN}, in a file that {TOKEN_PATH} names, or in ~/.ray/auth_token\n"
            f"  found     {found}\n"
            f"  try       {TOKEN_PATH} with a file that whoever started the cluster gives you"
        )
    if asks and where and asks_for_token(where, token):
        raise UsageError(
            f"{name} asks for a token, and refuses the one in {place}.\n"
            "  expected  the token with which the cluster was started\n"
            f"  try       {TOKEN} or {TOKEN_PATH} with that one"
        )
    if asks or (shows and asks is None and version is None):
        return variables, None
    reach = f"{name} asks for no token, so whoever reaches it can run code as its user and read this run: "
    mend = f"start it with {MODE}=token" if version is None else f"Ray {version} knows none, take {FIRST} or newer and {MODE}=token"
    return variables, f"warning: {reach}{mend}, or see to it that nobody does (SECURITY.md)"


def without(version: str) -> str:
    """What the user of a Ray of our own should know whose version knows nothing of tokens."""
    return (
        f"warning: Ray {version} knows no tokens, so whoever can log in to this machine can run code as you while this run lasts: "
        f"it listens on loopback alone, and Ray {FIRST} or newer asks for a token too (SECURITY.md)"
    )


def found_token() -> tuple[str | None, str]:
    """(the token that Ray would show, where it is from)."""
    if os.environ.get(TOKEN):
        return os.environ[TOKEN].strip(), TOKEN
    path = os.environ.get(TOKEN_PATH) or os.path.join(os.path.expanduser("~"), ".ray", "auth_token")
    try:
        return Path(path).read_text().strip() or None, path
    except (OSError, ValueError):
        return None, path


def asks_for_token(where: str, token: str | None = None) -> bool | None:
    """Does the Ray at "host:port" refuse a call that shows this token, or none? None where that cannot be told, with TLS say.

    Ray itself takes 20 s to find out, and then does not say why. This is one call of gRPC, by hand: asking the head whether it is alive.
    """
    host, _, port = where.rpartition(":")
    headers = [
        b"\x83\x86",  # POST, http
        _header(b"\x04", b"/ray.rpc.NodeInfoGcsService/CheckAlive"),  # :path
        _header(b"\x01", where.encode()),  # :authority
        _header(b"\x00", b"content-type", b"application/grpc"),
        _header(b"\x00", b"te", b"trailers"),
        _header(b"\x00", b"authorization", f"Bearer {token}".encode()) if token else b"",
    ]
    call = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0) + _frame(1, 4, 1, b"".join(headers)) + _frame(0, 1, 1, bytes(5))
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S) as line:
            line.sendall(call)
            status = _status(line)
    except (OSError, ValueError):
        return None
    return None if status is None else status == _UNAUTHENTICATED


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _header(prefix: bytes, *texts: bytes) -> bytes:
    """A header of HPACK that nobody keeps, in plain letters."""
    made = prefix
    for text in texts:
        rest, length = len(text), b""
        if rest < 127:
            length = bytes([rest])
        else:
            length, rest = b"\x7f", rest - 127
            while rest >= 128:
                length, rest = length + bytes([rest % 128 + 128]), rest // 128
            length += bytes([rest])
        made += length + text
    return made


def _status(line: socket.socket) -> int | None:
    """gRPC's status in the answer; the other side writes it in plain letters, too."""
    data = b""
    while len(data) < 1 << 16:
        name = data.find(b"grpc-status")
        if 0 <= name < len(data) - 11 and len(data) >= name + 12 + data[name + 11]:
            digits = data[name + 12 : name + 12 + data[name + 11]]
            return int(digits) if digits.isdigit() else None
        more = line.recv(4096)
        if not more:
            return None
        data += more
    return None
