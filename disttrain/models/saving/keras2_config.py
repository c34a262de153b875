"""The config of a model as Keras 2 wrote it, in the words of Keras 3; one of Keras 3 stays as it is."""

from __future__ import annotations

from typing import Any

_GONE = {  # settings of Keras 2 that say how it computes, or nothing
    "batch_size",
    "experimental_autocast",
    "implementation",
    "input_length",
    "time_major",
    "unit_forget_bias_initializer",
}
_RENAMED = {"LeakyReLU": {"alpha": "negative_slope"}}


def modern(config: Any) -> Any:
    """A layer's or model's config, with everything in it."""
    if isinstance(config, list):
        return [modern(item) for item in config]
    if not isinstance(config, dict):
        return config
    made = {key: modern(value) for key, value in config.items()}
    name, inner = made.get("class_name"), made.get("config")
    if not isinstance(name, str):
        return made
    if name == "Sequential" and isinstance(inner, list):  # before Keras 2.3
        made["config"] = {"layers": inner}
    elif isinstance(inner, dict):
        made["config"] = _settings(name, inner)
    if name == "Model":
        made["class_name"] = "Functional"
    if isinstance(config.get("inbound_nodes"), list):
        made["inbound_nodes"] = [_node(node) for node in config["inbound_nodes"]]
    return made


def _settings(name: str, config: dict[str, Any]) -> dict[str, Any]:
    kept = {_RENAMED.get(name, {}).get(key, key): value for key, value in config.items() if key not in _GONE}
    shape = kept.pop("batch_input_shape", None)
    if shape is not None:
        kept.update({"batch_shape": shape} if name == "InputLayer" else {"input_shape": shape[1:]})
    policy = kept.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") in ("Policy", "PolicyV1"):
        kept["dtype"] = policy.get("config", {}).get("name")
    if name == "BatchNormalization" and isinstance(kept.get("axis"), list) and len(kept["axis"]) == 1:
        kept["axis"] = kept["axis"][0]
    return kept


def _node(node: Any) -> Any:
    """A call: in Keras 2 a list with [layer, call, output] or [layer, call, output, arguments] of each input."""
    if isinstance(node, dict):
        return modern(node)
    if isinstance(node, list) and len(node) == 4 and isinstance(node[0], str):  # one input, without the list around it
        node = [node]
    if not isinstance(node, list) or not all(isinstance(item, list) and len(item) in (3, 4) for item in node):
        raise ValueError(f"inbound_nodes has {node!r}: expected [layer, call, output, arguments] for each input of a call.")
    tensors = [_tensor(item) for item in node]
    arguments = node[0][3] if node and len(node[0]) == 4 else {}
    return {"args": tensors[:1] if len(tensors) == 1 else [tensors], "kwargs": modern(arguments)}


def _tensor(item: list[Any]) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": item[:3]}}
