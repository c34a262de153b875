"""What the page asks, answered in JSON and packed bytes: one model pass at a time, each computed once."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from disttrain.errors import UsageError
from disttrain.viewers import attribution, forward, graph, predictions, statistics, views
from disttrain.viewers.cache import BoundedCache
from disttrain.viewers.folder import Folder
from disttrain.viewers.input_specs import describe_inputs, scales_itself
from disttrain.viewers.inputs import Inputs
from disttrain.viewers.packing import ViewError
from disttrain.viewers.preprocessing import Preprocessing
from disttrain.viewers.refusal import Refusal
from disttrain.viewers.sources import Source

_CACHE_BYTES = 512 << 20
METHODS = ("gradient", "gradcam", "integrated")


class Answers:
    """The viewer without HTTP.

    Args:
        source: where models come from.
        folder: where files to show are.
        classes: names of the classes; None takes the run's.
        top: how many predictions.
        preprocess, rescale, mean, std, centre_drawings: as in `Preprocessing`.

    Raises:
        UsageError: `classes` are no names, `top` is no count.
    """

    def __init__(
        self,
        source: Source,
        folder: Folder,
        *,
        classes: Sequence[Any] | None = None,
        top: int = 5,
        preprocess: Callable[[Any], Any] | None = None,
        rescale: float | None = None,
        mean: Any = None,
        std: Any = None,
        centre_drawings: bool | None = None,
    ) -> None:
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise UsageError(f"top={top!r}: expected a whole number, 1 or more: how many predictions are shown.")
        if isinstance(classes, str) or (classes is not None and not hasattr(classes, "__iter__")):
            raise UsageError(f"classes={classes!r}: expected a list of names, one for each output of the last layer.")
        self._source, self._top = source, top
        self._classes = [str(name) for name in classes] if classes is not None else source.classes
        self._folder = folder
        self._asked = {"function": preprocess, "rescale": rescale, "mean": mean, "std": std, "centre": centre_drawings}
        self._passes = threading.Lock()
        self._cache = BoundedCache(_CACHE_BYTES)
        self._learn(source.skeleton())

    def _learn(self, model: Any) -> None:
        """What a model says of itself: that of the start, or, where that was not built, the same once it is."""
        samples = self._source.samples
        self._skeleton, self._note = model, getattr(model, "trained_pictures", None)
        self._specs = describe_inputs(model, samples.x)
        ready = Preprocessing(self._specs, scales_itself=scales_itself(model), samples=samples.x, trained=self._note, **self._asked)
        self.inputs = Inputs(self._folder, ready, samples, self._classes)

    def _look_again(self) -> None:
        """A model in memory may have been built or trained since: then what is done to a picture may be another matter."""
        if self._source.kind != "model":
            return
        with self._passes:
            model = self._source.skeleton()
            if model.built and (not self._skeleton.built or getattr(model, "trained_pictures", None) != self._note):
                self._cache = BoundedCache(_CACHE_BYTES)
                self._learn(model)

    # -- the model ------------------------------------------------------------------------------------------------------------------

    def model(self) -> dict[str, Any]:
        """JSON of /api/model."""
        self._look_again()
        model = self._skeleton
        outputs = _outputs(model)
        return {
            "name": str(model.name),
            "source": self._source.kind,
            "location": self._source.location,
            "parameters": sum(tensor.numel() for _, tensor in model.named_weights()),
            "top": self._top,
            "classes": self._classes or [],
            "inputs": [spec.to_json() for spec in self._specs],
            "outputs": outputs,
            "message": self._about_model(outputs),
        }

    def _about_model(self, outputs: list[dict[str, Any]]) -> str | None:
        if not self._skeleton.built and self._source.kind != "run":
            return "the model is not built, so it has no weights yet: call it on data, or build(input_shape), before launch"
        sizes = {output["shape"][-1] for output in outputs if output["shape"]} - {None}
        if self._classes and sizes and len(self._classes) not in sizes:
            return f"classes has {len(self._classes)} names, the outputs have {', '.join(map(str, sorted(sizes)))} units: numbers are shown"
        return None

    def graph(self) -> dict[str, Any]:
        """JSON of /api/graph."""
        drawn = self._cache.get("graph")
        if drawn is None:
            with self._passes:
                drawn = graph.describe(self._skeleton)
            if self._skeleton.built:
                self._cache.put("graph", drawn, 1 << 20)
        return drawn  # type: ignore[no-any-return]

    def checkpoints(self) -> dict[str, Any]:
        """JSON of /api/checkpoints."""
        return self._source.checkpoints()

    # -- what it does with an input -------------------------------------------------------------------------------------------------

    def activations(
        self, layer: str, view: str, input_id: str | None, checkpoint: str | None, *, exact: bool, start: int, count: int | None
    ) -> bytes:
        """A view of a layer, packed."""
        name, version = self._source.resolve(checkpoint)
        seen = None if view == "filters" else self._input_version(input_id, f"the view {view!r}")
        key = ("view", version, seen, layer, view, exact, start, count)

        def computed() -> bytes:
            # with filters no pass; what a layer gave needs its recording only; gates and scores are computed from the weights too
            recording = None if view == "filters" else self._recording(name, version, str(input_id))
            model = self._skeleton if view == "activations" and self._skeleton.built else self._model(name, input_id)
            packed = views.render(model, recording, layer, view, exact=exact, start=start, count=count)
            packed.header["checkpoint"] = name
            return bytes(packed.to_bytes())

        return self._once(key, computed)

    def attribution(self, method: str, input_id: str | None, checkpoint: str | None, target: int | None, layer: str | None) -> bytes:
        """How much each place of the input matters, packed."""
        if method not in METHODS:
            raise Refusal(400, f"method={method[:80]!r}: expected one of {', '.join(METHODS)}")
        name, version = self._source.resolve(checkpoint)
        key = ("attribution", version, self._input_version(input_id, "an attribution"), method, target, layer)

        def computed() -> bytes:
            model, given = self._model(name, input_id), self.inputs.model_inputs(str(input_id))
            packed = _passed(lambda: attribution.attribute(model, given, method, target=target, layer=layer))
            packed.header["checkpoint"] = name
            return bytes(packed.to_bytes())

        return self._once(key, computed)

    def predictions(self, input_id: str | None, checkpoint: str | None) -> dict[str, Any]:
        """JSON of /api/predictions."""
        name, version = self._source.resolve(checkpoint)
        self._input_version(input_id, "a prediction")
        recording = self._shared_recording(name, version, str(input_id))
        names = [output["name"] for output in _outputs(self._skeleton)] or None
        if names is not None and len(names) != len(recording.results):
            names = None
        truth = self.inputs.truth(str(input_id))
        return {"checkpoint": name, "outputs": predictions.top(recording.results, self._classes, self._top, names, truth)}

    def statistics(self, layer: str, input_id: str | None, checkpoint: str | None) -> dict[str, Any]:
        """JSON of /api/statistics."""
        name, version = self._source.resolve(checkpoint)
        key = ("statistics", version, self._input_version(input_id, "statistics"), layer)
        found = self._cache.get(key)
        if found is None:
            recording = self._shared_recording(name, version, str(input_id))
            found = statistics.summarize(recording.output(layer), graph.find(self._skeleton, layer))
            self._cache.put(key, found, 1 << 13)
        return found  # type: ignore[no-any-return]

    def _input_version(self, input_id: str | None, what: str) -> tuple[str, str]:
        if not input_id:
            raise Refusal(400, f"input= is missing: {what} is that of an input; choose one first")
        return self.inputs.version(input_id)

    def _once(self, key: tuple[Any, ...], compute: Callable[[], bytes]) -> bytes:
        """From the cache, or computed alone: tabs that ask the same wait for the first, and find its answer."""
        value = self._cache.get(key)
        if value is None:
            with self._passes:
                value = self._cache.get(key)
                if value is None:
                    value = compute()
                    self._cache.put(key, value, len(value))
        return value  # type: ignore[no-any-return]

    def _shared_recording(self, name: str, version: str, input_id: str) -> forward.Recording:
        recording = self._cache.get(("pass", version, self.inputs.version(input_id)))
        if recording is None:
            with self._passes:
                recording = self._recording(name, version, input_id)
        return recording  # type: ignore[no-any-return]

    def _recording(self, name: str, version: str, input_id: str) -> forward.Recording:
        """One pass gives all layers. Called with the lock held."""
        key = ("pass", version, self.inputs.version(input_id))
        recording = self._cache.get(key)
        if recording is None:
            model, given = self._model(name, input_id), self.inputs.model_inputs(input_id)
            recording = _passed(lambda: forward.record(model, given))
            self._cache.put(key, recording, recording.size_bytes)
        return recording  # type: ignore[no-any-return]

    def _model(self, name: str, input_id: str | None) -> Any:
        # only a run's model of code is built from what it is shown
        example = None if input_id is None or self._skeleton.built or self._source.kind != "run" else self.inputs.model_inputs(input_id)
        model = self._source.model(name, example)
        if not self._skeleton.built and model.built:
            self._skeleton = model  # its graph and shapes are known now
        return model


def _passed(run: Callable[[], Any]) -> Any:
    """What a model raises for an input is an answer, no fault of the viewer."""
    try:
        return run()
    except (ViewError, Refusal):
        raise
    except (ValueError, TypeError, RuntimeError, IndexError, KeyError) as error:
        text = str(error).strip() or type(error).__name__
        raise Refusal(422, f"the model cannot take this input: {text[:600]}") from error


def _outputs(model: Any) -> list[dict[str, Any]]:
    """Name and shape of each output; [] where the model is code."""
    try:
        shapes = [list(tensor.shape) for tensor in model.outputs]
        names = model.output_names or []
    except (ValueError, NotImplementedError):
        return []
    return [{"name": names[number] if number < len(names) else f"output {number}", "shape": shape} for number, shape in enumerate(shapes)]


def finite(value: Any) -> Any:
    """JSON without NaN and infinities, which browsers refuse: those become null."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
