"""A layer around another layer."""

from __future__ import annotations

from typing import Any

from disttrain.layers.layer import Layer
from disttrain.layers.nesting import unshared, wrapped


class Wrapper(Layer):
    """Base of layers that change what another layer does; subclasses define `call`.

    Args:
        layer: the layer inside, built for the same inputs unless it is built already.

    Its config holds `layer` itself; a wrapper made from that config while this one lives gets a layer with weights of its own.

    Raises:
        ValueError: `layer` is no layer.
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(layer, Layer):
            raise ValueError(
                f"Layer {layer!r} supplied to {type(self).__name__} isn't a supported layer type. "
                "Please ensure wrapped layer is a valid Keras layer, such as Dense(8)."
            )
        self.layer = wrapped(layer)

    def build(self, input_shape: Any = None) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": self.layer}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return super().from_config({**config, "layer": unshared(config["layer"])})
