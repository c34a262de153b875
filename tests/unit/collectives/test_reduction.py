"""Sums over workers: every rank gets the same bits, whatever the group and the way a bucket goes."""

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from disttrain.collectives import GroupBroken, SoloGroup, reduction
from disttrain.collectives.layout import Layout
from disttrain.collectives.reduction import TreeReduction, fold
from disttrain.collectives.threads import thread_groups
from disttrain.collectives.tree import Add, local_merges
from disttrain.collectives.tree import pieces as tree_pieces
from disttrain.data.plan import slice_of

LAYOUT = Layout.of([(torch.float32, 1003), (torch.float64, 7)])


def contributions(count: int, seed: int) -> list[torch.Tensor]:
    """Numbers of very different size, whose sum depends on the order."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number in range(count):
        buffer = torch.zeros(LAYOUT.size_bytes, dtype=torch.uint8)
        for view in LAYOUT.views(buffer):
            view.copy_(torch.randn(view.numel(), generator=generator, dtype=torch.float64) * 10.0 ** (number % 5))
        made.append(buffer)
    return made


def reduced(slices: list[torch.Tensor], workers: int, leaves: int, bucket_bytes: int) -> list[torch.Tensor]:
    """What each of `workers` ranks ends with."""
    placement = [slice_of(len(slices), workers, rank) for rank in range(workers)]
    results: dict[int, torch.Tensor] = {}

    def work(group) -> None:
        plan = TreeReduction(group, placement, LAYOUT, torch.device("cpu"), bucket_bytes)
        start, stop = placement[group.rank]
        stack: list[torch.Tensor] = []
        for rank, merges in zip(range(start, min(stop, leaves)), local_merges(start, stop, leaves), strict=True):
            buffer = plan.buffer()
            buffer[: LAYOUT.size_bytes] = slices[rank]
            stack.append(buffer)
            for _ in range(merges):
                right = stack.pop()
                fold([stack[-1], right], [Add(0, 1)], LAYOUT, 0, LAYOUT.size_bytes)
        running = plan.start(leaves)
        for bucket in range(len(plan.buckets)):
            running.send(bucket, stack)
        results[group.rank] = running.finish()[: LAYOUT.size_bytes].clone()

    threads = [threading.Thread(target=work, args=(group,)) for group in (thread_groups(workers) if workers > 1 else [SoloGroup()])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[rank] for rank in range(workers)]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.data())
def test_every_rank_of_every_group_gets_the_same_bits(virtual, data):
    workers = data.draw(st.integers(1, virtual))
    leaves = data.draw(st.integers(1, virtual))
    whole_bytes = data.draw(st.sampled_from([0, 1 << 18]))  # all-to-all, or one exchange of everything
    slices = contributions(virtual, seed=virtual)
    alone = reduced(slices, 1, leaves, bucket_bytes=1 << 20)[0]
    before = reduction.WHOLE_BYTES
    reduction.WHOLE_BYTES = whole_bytes
    try:
        everyone = reduced(slices, workers, leaves, bucket_bytes=1024)
    finally:
        reduction.WHOLE_BYTES = before
    for result in everyone:
        for mine, expected in zip(LAYOUT.views(result), LAYOUT.views(alone), strict=True):
            assert torch.equal(mine, expected)


def test_the_sum_is_the_one_of_the_tree():
    slices = contributions(3, seed=0)
    a, b, c = (LAYOUT.views(s)[0] for s in slices)
    assert torch.equal(LAYOUT.views(reduced(slices, 2, 3, 256)[0])[0], (a + b) + c)


def test_sections_lie_on_cache_lines_and_views_share_the_buffer():
    layout = Layout.of([(torch.float32, 3), (torch.float64, 2)])
    assert [section.offset for section in layout.sections] == [0, 64]
    buffer = torch.zeros(layout.size_bytes, dtype=torch.uint8)
    layout.views(buffer)[1].fill_(2.5)
    assert buffer[64:80].view(torch.float64).tolist() == [2.5, 2.5]


def test_a_cut_names_the_parts_of_the_sections_inside_it():
    layout = Layout.of([(torch.float32, 20), (torch.float64, 2)])
    assert layout.cut(0, 64) == [(torch.float32, 0, 64)]
    assert layout.cut(64, 192) == [(torch.float32, 64, 80), (torch.float64, 128, 144)]


def test_an_aborted_group_lets_go_of_those_who_wait():
    first, second = thread_groups(2)
    pending = first.all_gather(torch.zeros(2), torch.ones(1))
    second.abort()
    with pytest.raises(GroupBroken):
        pending.wait()


@pytest.mark.parametrize(("workers", "pieces"), [(2, 1), (2, 3), (4, 1), (4, 3), (5, 1)])
def test_what_comes_in_takes_the_memory_of_a_few_buckets_however_many_there_are(workers, pieces, monkeypatch):
    monkeypatch.setattr(reduction, "WHOLE_BYTES", 0)
    bucket, many = 4096 * workers, 40
    layout = Layout.of([(torch.float32, bucket * many // 4)])
    placement = [(rank * pieces, (rank + 1) * pieces) for rank in range(workers)]
    kept, sums = {}, {}

    def work(group) -> None:
        plan = TreeReduction(group, placement, layout, torch.device("cpu"), bucket)
        mine = [plan.buffer() for _ in tree_pieces(*placement[group.rank], workers * pieces)]
        for number, buffer in enumerate(mine):
            layout.views(buffer)[0].fill_(10.0**group.rank + number)
        running = plan.start(workers * pieces)
        for number in range(len(plan.buckets)):
            running.send(number, mine)
        sums[group.rank] = running.finish(plan.buffer()).clone()
        assert len(plan.buckets) == many
        kept[group.rank] = sum(memory.numel() for memory in plan._staging.values())

    threads = [threading.Thread(target=work, args=(group,)) for group in thread_groups(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    most = max(len(tree_pieces(*run, workers * pieces)) for run in placement)
    for rank in range(workers):
        assert torch.equal(sums[rank], sums[0]) and layout.views(sums[rank])[0].unique().numel() == 1
        assert kept[rank] <= 5 * 2 * workers * most * bucket < many * bucket * 10
