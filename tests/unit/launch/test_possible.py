"""What cannot be had here is refused before anything is waited for."""

from __future__ import annotations

import pytest
import torch

from disttrain.elastic.devices import device_of
from disttrain.errors import UsageError
from disttrain.launch.config import RunConfig
from disttrain.launch.possible import check_gpus

MORE = torch.cuda.device_count() + 1


def test_more_gpus_than_there_are_is_wrong_use_and_names_the_option():
    with pytest.raises(UsageError, match=rf"--gpus-per-worker 1 needs {MORE} GPUs(.|\n)*this machine has: {MORE - 1}") as told:
        check_gpus(RunConfig(workers=MORE, gpus_per_worker=1))
    assert told.value.exit_code == 2


def test_a_cluster_may_get_its_gpus_later_and_without_any_nothing_is_asked():
    check_gpus(RunConfig(workers=MORE, gpus_per_worker=1, address="auto"))
    check_gpus(RunConfig(workers=MORE))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_worker_whose_torch_finds_no_gpu_says_so_in_words():
    with pytest.raises(UsageError, match="finds no GPU on"):
        device_of("nccl")
    assert device_of("gloo") == torch.device("cpu")
