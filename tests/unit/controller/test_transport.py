"""What carries the tensors of a generation: the table of what is asked for and what its members compute on."""

from __future__ import annotations

import pytest

from disttrain.controller.transport import Gpu, Transports, choose_transport
from disttrain.elastic.messages import Ready
from disttrain.errors import UsageError
from disttrain.launch.config import RunConfig
from disttrain.rundir.timeline import Console


def gpu(worker: str, uuid: str | None, host: str = "h", address: str = "") -> Gpu:
    return Gpu(worker, host, "cuda", uuid, address)


OWN = (gpu("w0", "GPU-a"), gpu("w1", "GPU-b"))
SHARED = (gpu("w0", "GPU-a"), gpu("w1", "GPU-b"), gpu("w2", "GPU-a"))
UNKNOWN = (gpu("w0", "GPU-a"), gpu("w1", None))
SLICED = (gpu("w0", "MIG-a", address="0000:1b:00"), gpu("w1", "MIG-b", address="0000:1b:00"))
APART = (gpu("w0", "GPU-a", "h1", "0000:1b:00"), gpu("w1", "GPU-b", "h2", "0000:1b:00"))
CPUS = (Gpu("w0"), Gpu("w1"))
APPLE = (Gpu("w0", "h", "mps"), Gpu("w1", "h", "mps"))
MIXED = (gpu("w0", "GPU-a"), Gpu("w1"))

TABLE = [
    ("auto", OWN, "nccl", "each worker has a GPU of its own"),
    ("auto", APART, "nccl", "each worker has a GPU of its own"),
    ("auto", SHARED, "host", "workers w0 and w2 share the GPU GPU-a of h"),
    ("auto", SLICED, "host", "workers w0 and w1 share the GPU MIG-b of h"),
    ("auto", UNKNOWN, "host", "the GPU of worker w1 tells no UUID, so nobody knows whether another has it too"),
    ("auto", CPUS, "host", "w0 trains on a CPU"),
    ("auto", APPLE, "host", "w0 trains on MPS"),
    ("auto", MIXED, "host", "w1 trains on a CPU"),
    ("host", OWN, "host", "asked for with --transport host"),
    ("host", SHARED, "host", "asked for with --transport host"),
    ("host", CPUS, "host", "asked for with --transport host"),
    ("nccl", OWN, "nccl", "asked for with --transport nccl"),
]


@pytest.mark.parametrize(("wanted", "members", "name", "because"), TABLE)
def test_the_transport_follows_from_what_is_asked_for_and_what_is_there(wanted, members, name, because):
    chosen = choose_transport(wanted, members)
    assert (chosen.name, chosen.because) == (name, because)


@pytest.mark.parametrize(
    ("members", "why"),
    [(SHARED, "workers w0 and w2 share"), (SLICED, "share"), (UNKNOWN, "no UUID"), (CPUS, "w0 trains on a CPU"), (APPLE, "MPS")],
)
def test_nccl_that_cannot_be_had_is_refused_with_the_reason_and_what_to_do(members, why):
    with pytest.raises(UsageError, match=why) as refused:
        choose_transport("nccl", members)
    assert "--transport auto" in str(refused.value)


def test_the_choice_is_told_once_and_again_when_it_changes():
    console = Console(quiet=True)
    transports = Transports("auto", console)
    for worker, uuid in (("w0", "GPU-a"), ("w1", "GPU-b"), ("w2", "GPU-b")):
        transports.heard(Ready(worker, 0, 1, "h", device="cuda", gpu_uuid=uuid))
    assert [transports.of(("w0", "w1")), transports.of(("w0", "w1")), transports.of(("w1", "w2")), transports.of(("w2",))] == [
        "nccl", "nccl", "host", "host",
    ]  # fmt: skip
    told = [event for event in console.events if event["event"] == "transport"]
    assert [event["transport"] for event in told] == ["nccl", "host"] and "w1 and w2 share" in told[1]["because"]


def test_nothing_is_told_of_workers_on_cpus():
    console = Console(quiet=True)
    transports = Transports("auto", console)
    for worker in ("w0", "w1"):
        transports.heard(Ready(worker, 0, 1, "h"))
    assert transports.of(("w0", "w1")) == "host" and not console.events


def test_an_unknown_transport_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="auto, host or nccl"):
        RunConfig(transport="rdma")
