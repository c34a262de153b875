"""The promise: one script, one seed, four virtual workers; one digest, at each epoch and at the end, however it was trained."""

import pytest
from launching import launch

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]  # the shared Ray keeps idle processes


@pytest.mark.parametrize(
    ("workers", "watching"), [(1, False), (2, True), (3, False), (4, False)], ids=["1", "2 seen at every batch", "3", "4"]
)
def test_a_launch_with_any_number_of_workers_gives_the_bits_of_one_process(workers, watching, alone, tmp_path, ray_address):
    """Callbacks that see every batch, and so make every step a boundary, change no bit either; two without: `test_resume.py`."""
    options = ("--workers", str(workers), "--virtual-workers", "4", "--seed", "3")
    done = launch(tmp_path, *options, arguments=("--watch-batches",) if watching else (), address=ray_address).wait()
    assert done.code == 0, done.out
    if watching:
        assert done.report.pop("batches") == 3 * 6
    assert done.report == alone
