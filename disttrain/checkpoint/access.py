"""How a kind of storage is reached: fsspec's configuration of it, so that whatever opens a URL of that kind in this process finds the same.

Where nothing is said here, it is what fsspec's own files and variables say (`FSSPEC_S3`), and what the client of that storage finds by
itself (`AWS_ENDPOINT_URL`, profiles, roles). Options given in code for one URL go before all of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fsspec.config import conf

_CHECKSUMS = ("request_checksum_calculation", "response_checksum_validation")  # of botocore 1.36 and later; before it computed none


def protocol_of(url: str | None) -> str | None:
    """The kind of storage of a URL, "s3" say; None for a path, which needs no options."""
    name = url.split("://", 1)[0] if url is not None and "://" in url else "file"
    return None if name in ("file", "local") else name


def access_of(url: str | None) -> dict[str, Any]:
    """What this process has been told of the kind of storage of `url`: to tell another one, on another host perhaps."""
    protocol = protocol_of(url)
    return {} if protocol is None else dict(conf.get(protocol, {}))


def tell(url: str | None, options: Mapping[str, Any]) -> None:
    """From now on they hold for that kind of storage in this process."""
    protocol = protocol_of(url)
    if protocol is not None and options:
        conf[protocol] = {**conf.get(protocol, {}), **options}


@contextmanager
def told(url: str | None, options: Mapping[str, Any] | None) -> Iterator[None]:
    """They hold for the block."""
    protocol = protocol_of(url)
    before = None if protocol is None else conf.get(protocol)
    tell(url, options or {})
    try:
        yield
    finally:
        if protocol is not None and options:
            if before is None:
                del conf[protocol]
            else:
                conf[protocol] = before


def plainly(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with which an S3 client leaves out checksums that nobody requires; of other storages as they are.

    By default it computes one of each request, and checks each reply by one: as much work again as moving the bytes. Whatever is read from
    a checkpoint is held against its digest, and servers that answer a range with the checksum of the whole object exist. What a person
    has configured counts.
    """
    protocol = protocol_of(url)
    if protocol not in ("s3", "s3a"):
        return dict(options)
    from botocore.config import Config  # late: of the client of S3 alone, whose file system is about to be opened

    known = {name: "when_required" for name in _CHECKSUMS if name in Config.OPTION_DEFAULTS}
    given = {**conf.get(protocol, {}), **options}.get("config_kwargs") or {}
    return {**options, "config_kwargs": {**known, **given}}
