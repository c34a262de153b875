"""Servers for `make test-stores`. Elsewhere these tests are skipped: what they need is installed by it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import pytest
from fault_proxy import FaultProxy, fault_proxy
from store_servers import SERVERS, Missing, Served, serving

from disttrain.checkpoint import Store
from disttrain.checkpoint.access import told

ASKED_FOR = "stores"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Nothing but `-m stores`, as make test-stores says it, starts servers."""
    if ASKED_FOR not in config.getoption("-m"):
        for item in items:
            if item.get_closest_marker(ASKED_FOR) is not None:
                item.add_marker(pytest.mark.skip(reason="real servers are started by make test-stores alone"))


@pytest.fixture(scope="session", params=sorted(SERVERS))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that answers; a test names those it is about, else it is about each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it asks over gRPC what a bucket is like, for a minute
        try:
            with serving(request.param, tmp_path_factory.mktemp(request.param.replace(" ", "-"))) as found:
                yield found
        except Missing as error:
            pytest.skip(f"{request.param}: {error}")


@pytest.fixture
def place(served: Served) -> Iterator[str]:
    """The URL of a folder that nothing is in. Whatever opens it in this process finds the server."""
    url, options = served.at(f"run-{secrets.token_hex(8)}")
    with told(url, options):
        yield url


@pytest.fixture
def store(place: str) -> Store:
    return Store(place)


@contextmanager
def _through(served: Served, url: str) -> Iterator[FaultProxy]:
    with fault_proxy(served.port) as proxy:
        _, options = served.at("", proxy.port)
        with told(url, options):
            yield proxy


@pytest.fixture
def proxied(served: Served) -> Callable[[str], Any]:
    """A block in which this URL's server is reached through a proxy that breaks what it is told to."""
    return lambda url: _through(served, url)


@pytest.fixture(autouse=True)
def closes_connections() -> Iterator[None]:
    """Those of SFTP have a thread each; fsspec keeps them for ever."""
    yield
    if "sftp" in fsspec.registry:
        kind = fsspec.get_filesystem_class("sftp")
        for connected in list(kind._cache.values()):
            connected.client.close()
        kind.clear_instance_cache()
