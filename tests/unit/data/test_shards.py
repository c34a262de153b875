"""Samples in files: what each kind of file gives, what is read of it and when, and what becomes of reads that fail."""

from __future__ import annotations

import threading
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from shard_cases import NAMES, SAMPLES, X, Y, has_parquet, noisy, npy, parquet_of, pictures, png, tar_of, urls, written
from thread_runs import make_model
from torch.utils.data import DataLoader, Subset

import disttrain as dt
from disttrain.data import feed_of
from disttrain.data.reading import ReadAhead
from disttrain.data.shards import files as shard_files
from disttrain.data.shards.files import Files
from disttrain.data.shards.reader import BlockReader
from disttrain.data.shards.tar_format import TarFormat
from disttrain.errors import DataError, StorageUnavailable
from disttrain.training.local import runner

needs_parquet = pytest.mark.skipif(not has_parquet, reason="needs pyarrow: pip install 'disttrain[parquet]'")
KINDS = {
    "csv": lambda: dt.data.csv(urls("csv"), NAMES, "label", stack=True),
    "json_lines": lambda: dt.data.json_lines(urls("jsonl"), "x", "y"),
    "tar": lambda: dt.data.tar("memory://shards/tar/{0..2}.tar", "npy", "cls"),
    "parquet": lambda: dt.data.parquet(urls("parquet")[0].replace("0.", "*."), "x", "y"),
    "columns": lambda: dt.data.parquet(urls("columns"), NAMES, "label", stack=True),
}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Where samples lie is kept in a folder of the test's; pauses between attempts are short."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shard_files, "_FIRST_PAUSE_S", 0.001)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs_parquet if kind in ("parquet", "columns") else ()) for kind in KINDS])
def test_each_kind_gives_its_samples_by_number_singly_and_in_slices(kind: str):
    for each in ("tar", "parquet"):
        urls(each) if each == kind else None
    shards = KINDS[kind]()
    assert len(shards) == SAMPLES and len(shards.files) == 3
    numbers = np.array([33, 0, 11, 12, 5, 5])
    x, y, weight = feed_of(shards).source.fetch(numbers, 0)
    assert weight is None and x.dtype == torch.float32
    np.testing.assert_array_equal(x.numpy(), X[numbers])
    np.testing.assert_array_equal(y.numpy(), Y[numbers])
    one, label = shards[-1]
    np.testing.assert_array_equal(np.asarray(one, dtype=np.float32), X[-1])
    assert label == Y[-1]
    with pytest.raises(IndexError):
        shards[SAMPLES]
    assert len(list(zip(shards, range(3), strict=False))) == 3


def test_pictures_of_folders_have_the_number_of_their_folder_and_the_size_that_was_asked_for():
    shards = dt.data.images(pictures(), mode="grayscale")
    assert shards.class_names == ["class0", "class1", "class2"] and len(shards) == SAMPLES
    x, y, _ = feed_of(shards).source.fetch(np.arange(SAMPLES), 0)
    assert x.dtype == torch.uint8 and x.shape == (SAMPLES, 2, 3, 1)
    order = sorted(range(SAMPLES), key=lambda number: (Y[number], number))
    np.testing.assert_array_equal(y.numpy(), Y[order])
    np.testing.assert_array_equal(x.numpy().reshape(SAMPLES, 6), np.round(X[order] * 255))
    assert dt.data.images(pictures(), labels=None, size=(5, 4))[0].shape == (5, 4, 3)


@needs_parquet
def test_columns_without_a_choice_are_inputs_by_name_text_among_them():
    url = written("mixed.parquet", parquet_of({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5], "s": ["x", "yy", "z"], "t": [0, 1, 0]}, 2))
    x, y, _ = feed_of(dt.data.parquet(url, target="t")).source.fetch(np.array([2, 1]), 0)
    assert sorted(x) == ["a", "b", "s"] and x["a"].tolist() == [3, 2] and y.tolist() == [0, 1]
    assert dt.data.parquet(url, target="t")[1][0]["s"] == "yy"
    assert x["b"].dtype == torch.float32


def test_a_row_of_a_csv_file_may_go_over_several_lines_and_empty_lines_are_none():
    data = b'name,value\r\n"a\n""b""",1\r\n\r\nplain,2\n\n"c,d",-3'
    shards = dt.data.csv(written("quoted.csv", data), "name", "value")
    assert [shards[number] for number in range(len(shards))] == [('a\n"b"', 1), ("plain", 2), ("c,d", -3)]
    assert len(dt.data.csv(written("bare.csv", b"1;2\n3;4\n"), ["a"], "b", delimiter=";", names=["a", "b"])) == 2


def test_tar_fields_are_decoded_by_their_endings_or_left_as_bytes():
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    fields = {"png": png(picture), "txt": "größe".encode(), "json": b'{"a": 1}', "seg.npy": npy(np.ones(2)), "bin": b"\x00"}
    url = written("fields.tar", tar_of([fields, fields]))
    found = dt.data.tar(url, transform=lambda sample: sample)[1]
    assert found["__key__"] == "data/00001" and (found["png"] == picture).all() and found["txt"] == "größe"
    assert found["json"] == {"a": 1} and found["seg.npy"].tolist() == [1, 1] and found["bin"] == b"\x00"
    assert dt.data.tar(url, transform=lambda sample: sample, decode=False)[0]["txt"] == "größe".encode()
    assert dt.data.tar(url, "jpg;png", "txt")[0][1] == "größe"


# -- what is read, and when ---------------------------------------------------------------------------------------------------------------


def numbered(count: int = 2000, fields: int = 300) -> Any:
    """Samples of a few hundred bytes in lines, 256 kB of which are a block."""
    rows = b"".join(b'{"x": [%d], "pad": "%s"}\n' % (number, b"-" * fields) for number in range(count))
    return written(f"numbered-{count}-{fields}.jsonl", rows)


def test_a_pass_reads_each_block_once_ahead_of_the_steps_and_a_slice_holds_what_the_order_says():
    shards = dt.data.json_lines(numbered(), "x", window=700)
    assert len(shards.blocks) == 3
    feed = feed_of(shards)
    plan = feed.plan(50, 2, shuffle=True, seed=1, trains=True)
    ahead = ReadAhead(feed.source, plan, 1)
    ahead.host(range(2))
    ahead.begin(0, 0)
    for step in range(plan.steps):
        for rank in range(2):
            x, _, _ = ahead.take(0, step, rank)
            assert x[:, 0].tolist() == plan.indices(0, step, rank).tolist()
    assert shards.reader.reads == 3
    ahead.close()


def test_going_on_in_the_middle_of_a_pass_reads_the_blocks_of_a_window_and_not_what_came_before():
    shards = dt.data.json_lines(numbered(6000, 1000), "x", window=200, memory=1 << 20)
    assert len(shards.blocks) > 20
    feed = feed_of(shards)
    plan = feed.plan(50, 1, shuffle=True, seed=1, trains=True)
    ahead = ReadAhead(feed.source, plan, 1)
    ahead.host(range(1))
    assert ahead.take(0, 100, 0)[0][:, 0].tolist() == plan.indices(0, 100, 0).tolist()
    ahead.close()
    assert shards.reader.reads <= 8  # of more than twenty


def test_where_samples_lie_is_found_out_once_and_again_for_a_file_that_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    looked = []
    look = TarFormat.look
    monkeypatch.setattr(TarFormat, "look", lambda self, files, number: looked.append(files.urls[number]) or look(self, files, number))
    for name in ("a", "b"):
        (tmp_path / f"{name}.tar").write_bytes(tar_of([{"npy": npy(X[0]), "cls": b"1"}] * 3))
    index = f"file://{tmp_path}/index.json"
    pattern = str(tmp_path / "*.tar")
    assert [len(dt.data.tar(pattern, "npy", "cls")) for _ in range(2)] == [6, 6] and len(looked) == 2
    assert [len(dt.data.tar(pattern, "npy", "cls", index=index)) for _ in range(2)] == [6, 6] and len(looked) == 4
    (tmp_path / "b.tar").write_bytes(tar_of([{"npy": npy(X[0]), "cls": b"1"}] * 4))
    assert len(dt.data.tar(pattern, "npy", "cls", index=index)) == 7 and looked[4:] == [f"file://{tmp_path}/b.tar"]
    (tmp_path / "index.json").write_text('{"form": 1, "shards": [3]}')
    assert len(dt.data.tar(pattern, "npy", "cls", index=index)) == 7


def test_loader_processes_change_no_bit_of_samples_that_draw():
    def outcome(data: Any, **arguments: Any) -> tuple[str, list[float]]:
        with runner.installed(runner.LocalRunner(runner._InProcess(4, 1))):  # one each: the calls of a process are seeded by their number
            model = make_model()
            history = model.fit(data, epochs=2, verbose=0, **arguments)
            return model.digest(), history.history["loss"]

    lines = urls("jsonl")
    alone = outcome(dt.data.json_lines(lines, transform=noisy), batch_size=8)
    assert outcome(dt.data.json_lines(lines, transform=noisy, workers=2), batch_size=8) == alone
    assert outcome(DataLoader(dt.data.json_lines(lines, transform=noisy), 8, shuffle=True, num_workers=1)) == alone


def test_shards_are_cut_predicted_and_taken_as_part_of_other_datasets():
    shards = dt.data.json_lines(urls("jsonl"), "x", "y")
    model = make_model()
    history = model.fit(shards, batch_size=8, epochs=1, validation_split=0.25, verbose=0).history
    assert len(history["val_loss"]) == 1
    outputs = model.predict(shards, batch_size=5, verbose=0)
    np.testing.assert_array_equal(outputs, model.predict(X, batch_size=5, verbose=0))
    evaluated = model.evaluate(Subset(shards, range(25, 34)), batch_size=4, verbose=0)
    assert evaluated == model.evaluate(X[25:], Y[25:], batch_size=4, verbose=0)


def test_a_picture_that_is_damaged_is_left_out_where_the_call_says_so():
    good = [{"png": png(np.full((2, 3), number, np.uint8)), "cls": b"1"} for number in range(20)]
    good[7]["png"] = good[7]["png"][:40]
    url = written("damaged-picture.tar", tar_of(good))
    with pytest.raises(DataError, match=r"data/00007.png, in sample 7 of memory://.*damaged-picture.tar, cannot be read as png"):
        dt.data.tar(url, "png", "cls")[7]
    model = dt.Sequential([dt.Input((2, 3, 3)), dt.layers.Flatten(), dt.layers.Dense(3)])
    model.compile("sgd", dt.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.warns(UserWarning, match="sample 7 could not be made and is left out"):
        model.fit(dt.data.tar(url, "png", "cls"), batch_size=5, verbose=0, on_bad_sample="skip")
    with pytest.raises(DataError, match="00007"):
        model.fit(dt.data.tar(url, "png", "cls"), batch_size=5, verbose=0)


# -- reads that fail ----------------------------------------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, times: int, error: Exception) -> list[int]:
    """Make the next reads raise; the list of all there were."""
    reads: list[int] = []
    bytes_of = Files.bytes_of

    def read(self: Files, number: int, begin: int, end: int) -> bytes:
        reads.append(begin)
        if len(reads) <= times:
            raise error
        return bytes_of(self, number, begin, end)

    monkeypatch.setattr(Files, "bytes_of", read)
    return reads


def test_a_read_that_fails_is_done_again_and_one_that_always_fails_is_named(monkeypatch: pytest.MonkeyPatch):
    shards = dt.data.json_lines(urls("jsonl"), "x", "y")
    reads = failing(monkeypatch, 2, OSError("503 slow down"))
    assert shards[0][1] == Y[0] and len(reads) == 3
    shards = dt.data.json_lines(urls("jsonl"), "x", "y")
    failing(monkeypatch, 1 << 30, OSError("503 slow down"))
    with pytest.raises(StorageUnavailable, match=r"block 0 of memory://.*0.jsonl could not be read, 6 times: OSError: 503"):
        make_model().fit(shards, batch_size=8, verbose=0)


def test_a_read_that_takes_very_long_is_begun_a_second_time():
    first, reads = threading.Event(), []

    def load(block: int, stopped: threading.Event) -> str:
        reads.append(block)
        if len(reads) == 1:
            first.wait(300)
            return "late"
        return "second"

    reader = BlockReader(load, [1] * 9, 100, threads=1, slow_s=0.01)
    reader.start()
    try:
        assert reader.get(3) == "second" and reads == [3, 3]
    finally:
        first.set()
        reader.close()


def test_blocks_that_somebody_needs_stay_and_others_go_when_memory_is_full():
    reads: list[int] = []
    reader = BlockReader(lambda block, stopped: reads.append(block) or block, [10] * 9, 25, threads=1)
    reader.start()
    try:
        reader.pin([1, 2])
        assert [reader.get(block) for block in (1, 2, 3, 4, 1, 2)] == [1, 2, 3, 4, 1, 2]
        assert reads == [1, 2, 3, 4]
        assert not reader.has_room([5]) and reader.has_room([2])
        reader.unpin([1, 2])
        assert reader.has_room([5])
    finally:
        reader.close()


def test_a_file_that_changed_after_the_source_was_made_is_named():
    url = written("changes.jsonl", b'{"x": [1.0], "y": 1}\n{"x": [2.0], "y": 1}\n')
    shards = dt.data.json_lines(url, "x", "y")
    with fsspec.open(url, "wb") as stream:
        stream.write(b'{"x": [1.0], "y": 1, "z": 5, "and": "more", "is": 3}\n')
    with pytest.raises(DataError, match=r"block 0 of memory://.*changes.jsonl holds 1 samples, and held 2"):
        shards[0]


# -- what cannot be ------------------------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[Any, str]] = {
    "no file": (lambda: dt.data.tar("memory://shards/none-*.tar"), r"tar\('memory://shards/none-\*.tar'\): no such file"),
    "a file that is not there": (lambda: dt.data.csv("/no/such/file.csv"), "file.csv is not there"),
    "one twice": (lambda: dt.data.json_lines([urls("jsonl")[0]] * 2), "0.jsonl is given twice"),
    "no URL": (lambda: dt.data.json_lines(3), r"json_lines\(3\): expected a URL"),
    "an empty file": (lambda: dt.data.json_lines(written("empty.jsonl", b"\n \n")), "empty.jsonl holds no samples at all"),
    "no JSON": (
        lambda: dt.data.json_lines(written("cut.jsonl", b'{"x": 1}\n{"x": '))[1],
        r"sample 1 of memory://.*cut.jsonl is no JSON",
    ),
    "a list": (lambda: dt.data.json_lines(written("list.jsonl", b"[1]\n"))[0], "sample 0 of .*list.jsonl is a list: expected an object"),
    "a key that is missing": (
        lambda: dt.data.json_lines(written("key.jsonl", b'{"x": 1}\n{"z": 2}\n'), "x")[1],
        r"sample 1 of .*key.jsonl has no 'x'.\n  expected  one of z",
    ),
    "compressed lines": (lambda: dt.data.json_lines(written("a.jsonl", b"\x1f\x8b\x08")), "a.jsonl is compressed"),
    "a column that is missing": (lambda: dt.data.csv(urls("csv"), "f9"), "csv: .*0.csv has no column 'f9'.\n  expected  one of f0"),
    "other columns": (
        lambda: dt.data.csv([urls("csv")[0], written("other.csv", b"a,b\n1,2\n")]),
        "other.csv has the columns a, b.\n  expected  f0, f1",
    ),
    "a short row": (
        lambda: dt.data.csv(written("short.csv", b"a,b\n1,2\n3\n"))[1],
        "sample 1 of .*short.csv has 1 fields, and there are 2 columns",
    ),
    "text among numbers": (
        lambda: dt.data.csv(written("word.csv", b"a,b\n" + b"1,2\n" * 300 + b"1,two\n"))[300],
        "sample 300 of .*word.csv has 'two' in the column 'b', which is of the kind 'int'",
    ),
    "an open quotation mark": (lambda: dt.data.csv(written("open.csv", b'a,b\n1,"2\n3,4\n')), "a quotation mark is never closed"),
    "a kind that is none": (lambda: dt.data.csv(urls("csv"), dtypes={"f0": "double"}), "'double' is no kind of column"),
    "no tar": (lambda: dt.data.tar(written("no.tar", b"hello" * 500)), "no.tar is no tar file"),
    "a tar that is cut": (
        lambda: dt.data.tar(written("cut.tar", tar_of([{"bin": b"-" * 5000}] * 3)[:14000])),
        "cut.tar is cut short: it has 14000 bytes",
    ),
    "a tar cut between members": (
        lambda: dt.data.tar(written("end.tar", tar_of([{"bin": b"-" * 512}] * 3)[:3072])),
        "end.tar is cut short: .*the blocks of zeros",
    ),
    "a tar with garbage in it": (
        lambda: dt.data.tar(written("garbage.tar", tar_of([{"bin": b"-" * 512}])[:1024] + b"garbage." * 200)),
        "garbage.tar is damaged: what lies at byte 1024 is neither a member nor the end",
    ),
    "lines of another kind": (
        lambda: dt.data.csv(written("mac.csv", b"a,b\n1,2\r3,4\n"))[0],
        "sample 0 of .*mac.csv holds 2 rows: expected lines that end in",
    ),
    "a compressed tar": (lambda: dt.data.tar(written("gz.tar", b"\x1f\x8b" + b"-" * 600)), "gz.tar is compressed"),
    "a field that is missing": (lambda: dt.data.tar(urls("tar"), "jpg", "cls")[0], "has no 'jpg'.\n  expected  one of npy, cls"),
    "two ways": (lambda: dt.data.tar(urls("tar"), target="cls", transform=len), "beside target, weight or stack"),
    "no window": (lambda: dt.data.tar(urls("tar"), window=0), r"tar\(window=0\): expected a whole number of 1 or more"),
    "no mode": (lambda: dt.data.images(pictures(), mode="cmyk"), "expected 'grayscale', 'rgb', 'rgba'"),
    "another folder": (lambda: dt.data.images(pictures(), class_names=["class0", "class1"]), "pictures in the folder 'class2' too"),
    "rows of unequal length": (
        lambda: feed_of(dt.data.json_lines(written("ragged.jsonl", b'{"x": [1, 2]}\n{"x": [1]}\n'), "x")).source.fetch(np.arange(2), 0),
        r"samples of this json_lines source are not alike",
    ),
}
BAD_PARQUET: dict[str, tuple[Any, str]] = {
    "a column": (lambda: dt.data.parquet(urls("parquet"), "x", "z"), r"0.parquet has no column 'z'.\n  expected  one of x, y"),
    "a file that is cut": (
        lambda: dt.data.parquet(written("cut.parquet", parquet_of({"x": [1.0] * 50}, 50)[:-20])),
        "cut.parquet is damaged or cut short",
    ),
    "no value": (
        lambda: dt.data.parquet(written("null.parquet", parquet_of({"x": [1, None, 3]}, 3)), "x")[0],
        "the column 'x' has no value in 1 rows of row group 0 of .*null.parquet, the first of them row 1",
    ),
    "unequal lists": (
        lambda: feed_of(dt.data.parquet(written("lists.parquet", parquet_of({"x": [[1.0], [2.0, 3.0]]}, 1)), "x")).source.fetch(
            np.arange(2), 0
        ),
        "samples of this parquet source are not alike",
    ),
    "text to stack": (
        lambda: feed_of(dt.data.parquet(written("text.parquet", parquet_of({"x": ["a"], "y": [1]}, 1)), stack=True)).source.fetch(
            np.arange(1), 0
        ),
        "stack=True: the column 'x' holds no numbers",
    ),
}


@pytest.mark.parametrize(
    ("make", "words"),
    [*BAD.values(), *[pytest.param(*case, marks=needs_parquet) for case in BAD_PARQUET.values()]],
    ids=[*BAD, *BAD_PARQUET],
)
def test_what_cannot_be_read_is_told_with_its_place_and_what_to_do(make: Any, words: str):
    with pytest.raises(DataError, match=f"(?s){words}"):
        make()


def test_a_dataset_of_ray_data_is_refused_by_name_with_the_way_to_train_on_it():
    kind = type("Dataset", (), {"__module__": "ray.data.dataset", "iter_batches": lambda self: iter(()), "__iter__": lambda self: iter(())})
    with pytest.raises(DataError, match=r"(?s)x is a Dataset of Ray Data.*write_parquet\(url\).*dt.data.parquet"):
        make_model().fit(kind(), verbose=0)
    batches = type("_IterableFromIterator", (), {"__module__": "ray.data.iterator", "__iter__": lambda self: iter(())})
    with pytest.raises(DataError, match=r"(?s)x is a _IterableFromIterator of Ray Data.*write_parquet\(url\)"):
        make_model().fit(batches(), verbose=0)


def test_a_dataset_of_tf_data_is_refused_with_a_function_that_makes_it_anew_which_trains():
    class Pipeline:
        def __init__(self, seed: int) -> None:
            self.seed = seed

        def as_numpy_iterator(self):
            for rows in np.random.default_rng(self.seed).permutation(24).reshape(3, 8):
                yield np.ones((8, 6), "float32") * rows[:, None], rows % 3

        def __iter__(self):
            raise AssertionError("its own iterator is not asked for")

    Pipeline.__module__ = "tensorflow.python.data.ops.dataset_ops"
    with pytest.raises(DataError, match=r"(?s)x is a Pipeline of tf.data.*as_numpy_iterator\(\).*fit\(batches\)"):
        make_model().fit(Pipeline(0), verbose=0)

    seeds: list[int] = []

    def batches():
        seeds.append(int(np.random.randint(2**31)))
        yield from Pipeline(seeds[-1]).as_numpy_iterator()

    for _ in range(2):
        with runner.installed(runner.LocalRunner(runner._InProcess())):  # as the first call of a script
            make_model().fit(batches, epochs=2, verbose=0)
    assert seeds[:2] == seeds[2:] and seeds[0] != seeds[1]
