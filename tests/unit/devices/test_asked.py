"""Where a run computes: what was asked for, what there is, what it began on."""

from __future__ import annotations

import pytest

from disttrain.devices.asked import Asked, Choice, check_options, choose_here, choose_on_cluster, needed, same_device
from disttrain.devices.drivers import Gpu
from disttrain.errors import RunMismatch, UsageError


def h200(count):
    return [Gpu(number, f"GPU-{number}", "NVIDIA H200") for number in range(count)]


def here(gpus, built="13.0", **asked):
    return choose_here(Asked(**asked), gpus, built, "2.13.0")


# -- a machine --------------------------------------------------------------------------------------------------------------------------


def test_without_a_gpu_a_run_computes_on_cpus_and_says_nothing():
    assert here([]) == Choice("cpu", 0.0, 0, ())


def test_gpus_are_used_where_they_are_one_for_each_worker_and_one_line_says_so():
    assert here(h200(4), workers=2) == Choice("cuda", 1.0, 4, ("training on 2 x NVIDIA H200",))


def test_gpus_of_two_kinds_are_named_apart():
    gpus = [*h200(1), Gpu(1, "GPU-x", "NVIDIA A100")]
    assert here(gpus, workers=2).notes == ("training on 1 x NVIDIA H200 and 1 x NVIDIA A100",)


def test_workers_that_share_a_gpu_are_counted_so():
    choice = here(h200(1), workers=4, gpus_per_worker=0.25)
    assert choice == Choice("cuda", 0.25, 1, ("training on 1 x NVIDIA H200, 0.25 of one for each worker",))


def test_cpus_can_be_asked_for_beside_gpus():
    assert here(h200(2), device="cpu") == here(h200(2), gpus_per_worker=0.0) == Choice()


def test_gpus_that_the_installed_torch_cannot_use_are_said_and_not_used():
    (note,) = here(h200(2), built=None).notes
    assert note == "2 x NVIDIA H200 here, but torch 2.13.0 is built without CUDA: training on CPUs"


def test_cuda_that_the_installed_torch_cannot_use_is_refused():
    with pytest.raises(UsageError, match=r"--device cuda: the driver knows 1 x NVIDIA H200 here, but torch 2.13.0 is built without CUDA"):
        here(h200(1), built=None, device="cuda")


@pytest.mark.parametrize(
    ("asked", "gpus", "says"),
    [
        ({"workers": 4}, 2, "--device auto: 4 workers with a GPU each need 4 GPUs, this machine has 2"),
        ({"workers": 4}, 2, "--gpus-per-worker 0.5 to share GPUs"),
        ({"workers": 2, "spares": 1}, 2, "2 workers and 1 spare with a GPU each need 3 GPUs, this machine has 2"),
        ({"workers": 1, "device": "cuda"}, 0, "--device cuda: 1 worker with a GPU each need 1 GPU, this machine has none"),
        ({"workers": 5, "gpus_per_worker": 0.4}, 2, "5 workers with 0.4 of a GPU each need 3 GPUs, this machine has 2"),
        ({"workers": 1, "device": "cuda", "resumes": True}, 0, "this run began on GPUs: 1 worker(.|\n)*--restart --device cpu"),
    ],
)  # fmt: skip
def test_more_gpus_than_there_are_is_a_word_with_both_numbers(asked, gpus, says):
    with pytest.raises(UsageError, match=says) as told:
        here(h200(gpus), **asked)
    assert told.value.exit_code == 2


@pytest.mark.parametrize(
    ("processes", "share", "count"), [(3, 1, 3), (3, 0.5, 2), (4, 0.25, 1), (5, 0.4, 3), (3, 0.3, 1), (7, 0.1, 1), (2, 0, 0)]
)
def test_a_share_lies_on_one_gpu(processes, share, count):
    assert needed(processes, share) == count


# -- options that no machine could meet -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "share", "says"),
    [
        ("gpu", None, "--device gpu: expected auto, cpu, cuda or mps"),
        ("mps", None, "--device mps: Apple's MPS has no float64(.|\n)*--device cpu"),
        (
            "auto",
            1.5,
            "--gpus-per-worker 1.5: a worker computes on one GPU(.|\n)*--gpus-per-worker 1 with more --workers, such as --workers 3",
        ),
        ("auto", 2, "--gpus-per-worker 2: a worker computes on one GPU"),
        ("auto", -1, "--gpus-per-worker -1: expected 1, or a share"),
        ("auto", float("nan"), "--gpus-per-worker nan"),
        ("cpu", 1, "--device cpu --gpus-per-worker 1: expected one of them"),
        ("cuda", 0, "--device cuda --gpus-per-worker 0: expected one of them"),
    ],
)
def test_options_that_contradict_each_other_or_mean_nothing_are_refused_by_name(device, share, says):
    with pytest.raises(UsageError, match=says):
        check_options(device, share, workers=2)


def joined(asked, now, limit, built="13.0"):
    return choose_on_cluster(asked, now, limit, built, "2.13.0")


# -- a cluster --------------------------------------------------------------------------------------------------------------------------


def test_a_cluster_with_gpus_trains_on_them_and_one_without_on_cpus():
    assert joined(Asked(workers=2), 4, 4) == Choice("cuda", 1.0, 0, ("training on GPUs of the cluster, which has 4",))
    assert joined(Asked(workers=2), 0, 0) == Choice()


def test_gpus_of_a_cluster_that_this_torch_cannot_use_are_said_and_used_only_when_asked_for():
    (note,) = joined(Asked(workers=2), 4, 4, None).notes
    assert note == "the cluster has 4 GPUs, but torch 2.13.0 here is built without CUDA: training on CPUs"
    assert joined(Asked("cuda", workers=2), 4, 4, None).device == "cuda"


def test_more_than_a_cluster_can_ever_have_is_refused_with_both_numbers():
    with pytest.raises(UsageError, match="--device cuda: 4 workers with a GPU each need 4 GPUs, the cluster has 2"):
        joined(Asked("cuda", workers=4, least=4), 2, 2)
    with pytest.raises(UsageError, match="1 worker with a GPU each need 1 GPU, the cluster has none"):
        joined(Asked("cuda", workers=4), 0, 0)


def test_workers_that_find_no_gpu_wait_where_enough_others_do_and_it_is_said():
    (note,) = joined(Asked(workers=4, spares=1), 2, 2).notes
    assert note == "training on GPUs of the cluster, which has 2; all workers and spares take 5: those that find none wait"


def test_a_cluster_that_can_grow_is_waited_for():
    assert joined(Asked("cuda", workers=4, least=4), 0, 8).device == "cuda"


# -- going on ---------------------------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_began():
    assert same_device("cpu", Asked(), "runs/a").kind == "cpu"
    assert same_device("cuda", Asked(workers=3), "runs/a") == Asked("cuda", workers=3, resumes=True)
    assert same_device("cuda", Asked("cuda"), "runs/a") == Asked("cuda")
    assert same_device(None, Asked(), "runs/a") == Asked()


@pytest.mark.parametrize(
    ("began", "asked", "says"),
    [
        ("cuda", Asked("cpu"), "runs/a holds a run that began on GPUs, --device cpu was given(.|\n)*--device cuda, another --run-dir"),
        ("cuda", Asked(gpus_per_worker=0), "began on GPUs, --gpus-per-worker 0 was given"),
        ("cpu", Asked("cuda"), "began on CPUs, --device cuda was given(.|\n)*--device cpu"),
        ("cpu", Asked(gpus_per_worker=0.5), "began on CPUs, --gpus-per-worker 0.5 was given"),
    ],
)
def test_another_device_than_a_run_began_on_is_refused_by_name(began, asked, says):
    with pytest.raises(RunMismatch, match=says):
        same_device(began, asked, "runs/a")
