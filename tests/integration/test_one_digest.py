"""The promise: one script, one seed, four virtual workers; one digest, at each epoch and at the end, however it was trained."""

import pytest
from launching import launch, python

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]  # the shared Ray keeps idle processes


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The report of `python script.py` in one process."""
    return python(tmp_path_factory.mktemp("alone"), "--virtual-workers", "4")


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_a_launch_with_any_number_of_workers_gives_the_bits_of_one_process(workers, alone, tmp_path, ray_address):
    done = launch(tmp_path, "--workers", str(workers), "--virtual-workers", "4", "--seed", "3", address=ray_address).wait()
    assert done.code == 0, done.out
    assert done.report == alone


def test_callbacks_that_see_every_batch_change_no_bit(alone, tmp_path, ray_address):
    done = launch(
        tmp_path, "--workers", "2", "--virtual-workers", "4", "--seed", "3", arguments=("--watch-batches",), address=ray_address
    ).wait()
    assert done.code == 0, done.out
    assert done.report.pop("batches") == 3 * 6
    assert done.report == alone
