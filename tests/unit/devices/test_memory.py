"""Whose memory it is, and what is said where a step does not fit."""

from __future__ import annotations

from dataclasses import replace

from disttrain.devices.memory import DeviceMemory, StepSize, out_of_memory

GIB = 1 << 30
FULL = DeviceMemory("GPU 0", "NVIDIA H200", total=140 * GIB, free=GIB, reserved=138 * GIB, peak=137 * GIB)


def test_what_a_process_holds_itself_is_nobody_elses():
    assert FULL.elsewhere == GIB and not FULL.others_hold
    assert not replace(FULL, free=100 * GIB, reserved=35 * GIB).others_hold  # a context, workspaces, buffers of NCCL


def test_memory_of_another_process_is_seen():
    assert replace(FULL, reserved=20 * GIB).others_hold
    assert DeviceMemory("GPU 0", "Tesla T4", total=15 * GIB, free=GIB, reserved=12 * GIB, peak=0).others_hold


def test_a_step_that_does_not_fit_is_told_with_device_peak_batch_slices_and_what_to_change():
    text = str(out_of_memory(FULL, StepSize(4096, 4, 2), "CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"))
    assert text.splitlines() == [
        "GPU 0 (NVIDIA H200, 140.0 GiB) ran out of memory in a step: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "  peak      137.0 GiB in use by this process at most, 1.0 GiB were free",
        "  step      a batch of 4096 in 4 slices of 1024, one at a time on each of 2 workers: more workers make no slice smaller",
        "  try       batch_size=2048, --virtual-workers 8 in another --run-dir (slices of 512, one after the other; other bits), "
        "mixed_precision.set_dtype_policy('mixed_bfloat16'), or a GPU with more memory",
    ]


def test_in_a_script_of_one_process_the_advice_is_what_that_can_do():
    text = str(out_of_memory(replace(FULL, free=0, reserved=60 * GIB), StepSize(32, 1, None), "CUDA out of memory."))
    assert "0 MiB were free; 80.0 GiB are held outside this process's torch" in text
    assert "a batch of 32 in 1 slice of 32\n" in text and "set_virtual_workers(2) (slices of 16" in text and "--virtual" not in text


def test_one_sample_that_does_not_fit_leaves_no_smaller_batch():
    text = str(out_of_memory(None, StepSize(4, 4, 2), "CUDA out of memory."))
    assert text.startswith("the GPU ran out of memory in a step") and "batch_size=" not in text and "virtual" not in text.split("try")[1]
