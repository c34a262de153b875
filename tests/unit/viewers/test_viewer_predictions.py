"""The likeliest classes and the largest values."""

from __future__ import annotations

import numpy as np
import torch
from viewed_models import branched

from disttrain.viewers import forward
from disttrain.viewers.predictions import top


def test_classes_come_by_falling_probability():
    (found,) = top([np.array([0.1, 0.6, 0.3])], ["cat", "dog", "owl"], 2, ["kind"])
    assert (found["name"], found["kind"], found["shape"]) == ("kind", "classes", [3])
    assert found["entries"] == [{"index": 1, "label": "dog", "value": 0.6}, {"index": 2, "label": "owl", "value": 0.3}]


def test_logits_and_single_units_are_values():
    logits, unit = top([np.array([3.0, -1.0]), np.array([0.9])], ["a", "b"], 5)
    assert logits["kind"] == "values" and [entry["label"] for entry in logits["entries"]] == ["a", "b"]
    assert unit["kind"] == "values" and unit["entries"] == [{"index": 0, "label": "0", "value": 0.9}] and unit["name"] == "output 2"


def test_of_steps_the_last_is_taken_and_of_places_the_mean():
    (steps,) = top([np.array([[1.0, 0.0], [0.2, 0.8]])], None)
    assert steps["kind"] == "classes" and steps["entries"][0] == {"index": 1, "label": "1", "value": 0.8}
    (places,) = top([np.array([[[1.0, 0.0], [0.5, 0.5]]])], None)
    assert places["entries"][0] == {"index": 0, "label": "0", "value": 0.75} and places["shape"] == [1, 2, 2]


def test_values_of_several_axes_say_where_they_are():
    (found,) = top([np.array([[1.0, 5.0], [2.0, 3.0]])], None, 2)
    assert found["entries"] == [{"index": 1, "label": "0, 1", "value": 5.0}, {"index": 3, "label": "1, 1", "value": 3.0}]
    (named,) = top([np.array([[1.0, 5.0]])], ["low", "high"], 1)
    assert named["entries"][0]["label"] == "high at 0"


def test_what_is_no_number_comes_last_as_null():
    (found,) = top([np.array([np.nan, 1.0, np.inf])], None)
    assert [entry["value"] for entry in found["entries"]] == [1.0, None, None] and found["kind"] == "values"


def test_numbers_stand_for_names_that_do_not_fit():
    (found,) = top([np.array([0.25, 0.75])], ["one", "two", "three"])
    assert found["entries"][0]["label"] == "1"
    assert top([np.float32(3.0)], None)[0]["entries"] == [{"index": 0, "label": "0", "value": 3.0}]
    assert top([np.zeros((0, 2))], None)[0]["entries"] == []


def test_results_of_a_pass_are_read_as_they_are():
    model = branched()
    found = top(forward.record(model, [torch.rand(1, 8, 8, 1), torch.rand(1, 4)]).results, None, 5, model.output_names)
    assert [(output["name"], output["kind"], len(output["entries"])) for output in found] == [("kind", "classes", 4), ("size", "values", 1)]


def test_the_true_class_is_marked_and_shown_though_it_is_not_among_the_likeliest():
    output = np.array([0.5, 0.3, 0.15, 0.05])
    (found,) = top([output], None, 2, truth=1)
    assert [(entry["index"], entry.get("truth")) for entry in found["entries"]] == [(0, None), (1, True)]
    (found,) = top([output], None, 2, truth=3)
    assert [(entry["index"], entry.get("truth")) for entry in found["entries"]] == [(0, None), (1, None), (3, True)]
    (found,) = top([np.array([2.5, -1.0])], None, 2, truth=1)  # values are no classes
    assert not any("truth" in entry for entry in found["entries"])
