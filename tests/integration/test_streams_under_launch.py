"""Streams and loader processes on Ray: the bits of one process, through the death of a loader process and of
the driver in mid-epoch."""

from launching import SCRIPTS, launch, python
from pytest import fixture, mark

pytestmark = [mark.ray, mark.faults, mark.leaves_behind("processes")]  # the shared Ray keeps idle processes

SCRIPT = SCRIPTS / "streams.py"
OPTIONS = ("--workers", "2", "--virtual-workers", "4", "--seed", "3", "--checkpoint-every", "1steps")


@fixture(scope="module")
def alone(tmp_path_factory):
    return python(tmp_path_factory.mktemp("alone"), "--virtual-workers", "4", script=SCRIPT)


def test_a_launch_on_streams_and_loader_processes_survives_the_death_of_a_loader_and_of_the_driver(alone, tmp_path, ray_address):
    harm = ("--kill-loader", str(tmp_path / "loader"), "--kill-driver", str(tmp_path / "driver"))
    first = launch(tmp_path, *OPTIONS, script=SCRIPT, arguments=harm, address=ray_address).wait()
    assert first.code != 0 and (tmp_path / "driver").exists() and not (tmp_path / "loader").exists()
    second = launch(tmp_path, *OPTIONS, script=SCRIPT, arguments=harm, address=ray_address).wait()
    assert second.code == 0, second.out
    assert (tmp_path / "loader").exists()
    assert second.report == alone
