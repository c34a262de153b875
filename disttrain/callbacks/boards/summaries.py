"""Summaries that are made of words: the run's configuration, Keras's conceptual graph, hyperparameters."""

from __future__ import annotations

import json
from typing import Any

import numpy as np


def text_summary(tag: str, markdown: str) -> Any:
    """A `Summary` for the text page."""
    from tensorboard.plugins.text.summary_v2 import text_pb

    return text_pb(tag, markdown)


def keras_summary(model: Any) -> Any:
    """A `Summary` for the conceptual graph of the graph page, under Keras's tag; None for a model that is code."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.util import tensor_util

    try:
        config = model.to_json()
    except Exception:  # a layer of the script's own without a config; the graph itself is shown all the same
        return None
    shown = summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="graph_keras_model", content=b"1"))
    tensor = tensor_util.make_tensor_proto(config, dtype=np.object_)
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag="keras", metadata=shown, tensor=tensor)])


def hparams_summary(hparams: dict[str, Any], name: str, start_s: float) -> Any:
    """A `Summary` that begins a session of the hyperparameters page: a row of its table.

    Args:
        hparams: numbers, strings and booleans; anything else is shown as its text.
        name: of the row.
        start_s: wall time.
    """
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    return hparams_pb(_plain(hparams), trial_id=name, start_time_secs=start_s)


def experiment_summary(hparams: dict[str, Any], logs: dict[str, Any]) -> Any:
    """A `Summary` with the columns of that table: the hyperparameters, and the curves `hparams/<name>` beside the session.

    The page finds nothing of `validation/` where it is opened on the folder itself, hence curves of its own.
    """
    from tensorboard.plugins.hparams.summary_v2 import HParam, Metric, hparams_config_pb

    names = [name for name, value in sorted(logs.items()) if isinstance(value, int | float)]
    return hparams_config_pb([HParam(name) for name in sorted(hparams)], [Metric(f"hparams/{name}", display_name=name) for name in names])


def _plain(hparams: dict[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in hparams.items()}


def session_end_summary(end_s: float) -> Any:
    """A `Summary` that ends the session."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    data = HParamsPluginData(session_end_info=SessionEndInfo(status=Status.Value("STATUS_SUCCESS"), end_time_secs=end_s))
    value = summary_pb2.Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return summary_pb2.Summary(value=[value])


def facts_markdown(facts: dict[str, Any], params: dict[str, Any]) -> str:
    """What the run is, as a table."""
    rows = [*facts.items(), *((key, value) for key, value in params.items() if key not in facts)]
    lines = [f"| {_cell(key)} | `{_cell(value if isinstance(value, str) else json.dumps(value, default=str))}` |" for key, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def model_markdown(model: Any) -> str | None:
    """`model.summary()` as text; None for what has none."""
    lines: list[str] = []
    if not callable(getattr(model, "summary", None)):
        return None
    try:
        model.summary(print_fn=lambda line, **_: lines.append(str(line)))
    except Exception:  # not built, or a summary of the script's own
        return None
    return "```\n" + "\n".join(lines) + "\n```"


def optimizer_markdown(optimizer: Any) -> str | None:
    """The optimizer's config as a table; None for what has none."""
    if not callable(getattr(optimizer, "get_config", None)):
        return None
    return facts_markdown({"class": type(optimizer).__name__, **optimizer.get_config()}, {})


def _cell(value: Any) -> str:
    return str(value).replace("`", "'").replace("|", "\\|").replace("\n", " ")
