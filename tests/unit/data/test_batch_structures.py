"""What a batch may look like: mappings of every kind, named tuples, packed sequences; and what is refused, with what to do."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence
from torch.utils.data import DataLoader

import disttrain as dt
from disttrain.data import feed_of, flatten, map_structure, rows_in
from disttrain.data.sources import as_array, as_batch
from disttrain.data.structure import joined, leaf_paths, take_rows, tensor_paths
from disttrain.errors import DataError

Pair = namedtuple("Pair", "x y")


class Encoding(UserDict):
    def __getattr__(self, name: str) -> Any:
        if name == "data" or name not in self.data:
            raise AttributeError(name)
        return self.data[name]


class Attributes(dict):
    __getattr__ = dict.__getitem__


def packed(*lengths: int) -> PackedSequence:
    return pack_sequence([torch.arange(length) + 10.0 * n for n, length in enumerate(lengths)], enforce_sorted=False)


def rows_of(sequence: PackedSequence) -> list[list[float]]:
    padded, lengths = pad_packed_sequence(sequence, batch_first=True)
    return [row[:length].tolist() for row, length in zip(padded, lengths.tolist(), strict=True)]


def test_a_mapping_of_any_kind_is_looked_into_and_one_with_attributes_keeps_them():
    for kind in (Encoding, Attributes):
        found = map_structure(lambda t: t + 1, kind({"b": torch.ones(2), "a": torch.zeros(2)}))
        assert type(found) is kind and found.a.tolist() == [1, 1] and list(found) == ["b", "a"]
    assert [leaf.item() for leaf in flatten(Encoding({"b": torch.tensor(2), "a": torch.tensor(1)}))] == [1, 2]
    for kind in (OrderedDict, MappingProxyType):
        assert map_structure(lambda t: t + 1, kind({"a": 1})) == {"a": 2}


def test_what_a_tokenizer_knows_of_other_rows_is_left_behind():
    encoding = Encoding({"a": torch.ones(2)})
    encoding._encodings = ["of", "two", "rows"]
    assert map_structure(lambda t: t[:1], encoding)._encodings is None
    assert encoding._encodings == ["of", "two", "rows"]


def test_a_packed_sequence_is_one_leaf_whose_samples_can_be_counted_taken_and_joined():
    sequence = packed(2, 4, 1)
    assert flatten({"a": sequence}) == [sequence] and [path for path, _ in leaf_paths([sequence], "x")] == ["x[0]"]
    assert rows_in((sequence, torch.ones(3))) == 3
    taken = take_rows({"a": sequence, "n": torch.tensor(5)}, torch.tensor([2, 0]))
    assert rows_of(taken["a"]) == [[20], [0, 1]] and taken["n"] == 5
    both = joined([{"b": torch.ones(3), "a": sequence}, {"b": torch.zeros(3), "a": sequence}])
    assert rows_of(both["a"]) == rows_of(sequence) * 2 and both["b"].tolist() == [1, 1, 1, 0, 0, 0] and list(both) == ["b", "a"]
    assert [path for path, _ in tensor_paths(sequence, "x")] == ["x.data", "x.batch_sizes", "x.sorted_indices", "x.unsorted_indices"]


def test_named_tuples_are_joined_as_they_are():
    both = joined([Pair(torch.ones(1), None), Pair(torch.zeros(2), None)])
    assert type(both) is Pair and both.x.tolist() == [1, 0, 0] and both.y is None


def test_a_batch_from_a_collator_has_aligned_tensors_in_its_own_structure():
    x, y, weight = as_batch((Encoding({"a": np.ones((2, 3)), "packed": packed(1, 2)}), [1, 2]))
    assert type(x) is Encoding and x.a.dtype is torch.float32 and isinstance(x["packed"], PackedSequence)
    assert [int(leaf) for leaf in y] == [1, 2] and weight is None


def test_a_packed_sequence_alone_is_the_inputs_and_not_their_parts():
    x, y, weight = as_batch(packed(1, 2))
    assert isinstance(x, PackedSequence) and y is None and weight is None


@pytest.mark.parametrize("names", ["label image", "anchor positive negative"])
def test_a_named_tuple_in_another_order_is_refused(names: str):
    made = namedtuple("Sample", names)(*[torch.ones(2) for _ in names.split()])
    with pytest.raises(DataError, match=r"Sample of \(.*it would be taken for \(x, y, sample_weight\)"):
        as_batch(made)


def test_named_tuples_in_order_are_a_batch():
    assert as_batch(Pair(torch.ones(2), torch.zeros(2)))[1].tolist() == [0, 0]
    weighted = namedtuple("Weighted", "image label weight")(torch.ones(2), torch.zeros(2), torch.full((2,), 3.0))
    assert as_batch(weighted)[2].tolist() == [3, 3]


def test_three_parts_with_labels_at_the_end_are_not_taken_for_weights():
    parts = (torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 1]))
    with pytest.raises(DataError, match=r"the third of integers[\s\S]*\(\(a, b\), label\)"):
        as_batch(parts)
    assert as_batch(parts, counts_weigh=True)[2].tolist() == [0, 1]
    assert as_batch((parts[:2], parts[2]))[1].tolist() == [0, 1]


class Thing:
    """No tensor."""


REFUSED = {
    "sparse": (lambda: torch.eye(3).to_sparse(), r"a sparse tensor \(sparse_coo\)[\s\S]*to_dense"),
    "compressed": (lambda: torch.eye(3).to_sparse_csr(), r"a sparse tensor \(sparse_csr\)[\s\S]*to_dense"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), r"a nested tensor[\s\S]*to_padded_tensor"),
    "bfloat16": (lambda: torch.ones(3, dtype=torch.bfloat16), r"bfloat16[\s\S]*x\.float\(\)"),
    "objects": (lambda: np.array([[1, 2], [3]], dtype=object), r"array of Python objects[\s\S]*pad_sequences"),
    "packed": (lambda: packed(1, 2), r"a packed sequence[\s\S]*collate_fn"),
    "dates": (lambda: np.array(["2026-01-01"], dtype="datetime64[D]"), r"an array of dtype datetime64"),
    "masked numbers": (lambda: np.ma.array([1.0, 2.0], mask=[True, False]), r"a masked array, 1 of whose numbers[\s\S]*filled"),
    "an archive": (lambda: "arrays.npz", r"arrays\.npz holds several arrays[\s\S]*np\.load\(path\)"),
    "beyond int64": (lambda: np.array([1 << 63], dtype=np.uint64), r"up to 9223372036854775808 in uint64"),
    "an object": (Thing, r"a Thing object is neither a tensor nor an array"),
}


@pytest.mark.filterwarnings("ignore:.*(Sparse CSR|nested tensors)")  # torch's, of what is in beta
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_array_of_numbers_is_refused_with_what_to_do(name: str):
    make, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        as_array(make())


def test_numbers_without_a_sign_and_a_mask_that_masks_nothing_are_taken():
    assert as_array(np.arange(3, dtype=np.uint64)).dtype == np.int64
    assert as_array(np.ma.array([1.0, 2.0])).tolist() == [1, 2]


def test_a_sparse_matrix_is_told_from_other_objects():
    class Matrix:
        nnz = 3

        def toarray(self) -> Any:
            return np.eye(3)

    with pytest.raises(DataError, match=r"a sparse matrix \(Matrix\)[\s\S]*toarray\(\)"):
        as_array(Matrix())


@pytest.mark.parametrize(("part", "place"), [({"path": [Thing(), Thing()]}, r"x\['path'\]\[0\]"), (torch.eye(2).to_sparse(), "x")])
def test_the_place_in_a_batch_is_said(part: Any, place: str):
    with pytest.raises(DataError, match=f"^{place} of a batch: "):
        as_batch((part, torch.ones(2)))


def test_text_is_for_a_model_that_takes_text():
    words = {"words": np.array(["ab", "c"])}
    assert as_batch((words, torch.ones(2)))[0]["words"].dtype == torch.uint32  # code points, see disttrain.text
    model = dt.Sequential([dt.Input((3,)), dt.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="text"):
        model.fit(np.array(["ab", "c"]), np.ones(2), verbose=0)


@pytest.mark.parametrize("samples", [[{"image": np.ones(2), "label": 1}] * 4, [(np.ones(2), 1)] * 4])
def test_a_list_of_samples_is_refused_for_it_stands_for_several_inputs(samples: Any):
    with pytest.raises(DataError, match=r"a list of 4 (dicts|pairs)[\s\S]*DataLoader\(x, batch_size="):
        feed_of(samples)
    assert len(feed_of(DataLoader(samples, 2))) == 4
