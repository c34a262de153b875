"""Cases of the layers in `layers/pooling/`."""

from __future__ import annotations

import numpy as np
from layer_case import IMG, SEQ, VOL, Case

MASK = np.array([[True, True, False, True, False], [False, True, True, False, False]])

# Where windows reach over one edge further than over the other, Keras's torch backend repeats the edge in an average; that these divide
# by what is there is tested with numpy in tests/parity/test_pooling_parity.py.
REPEATS_THE_EDGE = False

CASES: dict[str, Case] = {
    "AdaptiveAveragePooling1D": Case(lambda L: L.AdaptiveAveragePooling1D(3), SEQ),
    "AdaptiveAveragePooling2D": Case(lambda L: L.AdaptiveAveragePooling2D((4, 2)), IMG),
    "AdaptiveAveragePooling2D, channels first": Case(lambda L: L.AdaptiveAveragePooling2D(3, "channels_first"), IMG),
    "AdaptiveAveragePooling3D": Case(lambda L: L.AdaptiveAveragePooling3D((2, 3, 4)), VOL),
    "AdaptiveMaxPooling1D": Case(lambda L: L.AdaptiveMaxPooling1D((3,)), SEQ),
    "AdaptiveMaxPooling1D, channels first": Case(lambda L: L.AdaptiveMaxPooling1D(2, data_format="channels_first"), SEQ),
    "AdaptiveMaxPooling2D": Case(lambda L: L.AdaptiveMaxPooling2D(2), IMG),
    "AdaptiveMaxPooling3D": Case(lambda L: L.AdaptiveMaxPooling3D(2), VOL),
    "AveragePooling1D": Case(lambda L: L.AveragePooling1D(3, 1), SEQ),
    "AveragePooling1D, same": Case(lambda L: L.AveragePooling1D(3, 1, "same", "channels_first"), SEQ),
    "AveragePooling2D": Case(lambda L: L.AveragePooling2D(2), IMG),
    "AveragePooling2D, same": Case(lambda L: L.AveragePooling2D((3, 5), 1, padding="same"), IMG),
    "AveragePooling2D, same and uneven": Case(lambda L: L.AveragePooling2D(2, (1, 2), padding="same"), IMG, keras=REPEATS_THE_EDGE),
    "AveragePooling3D": Case(lambda L: L.AveragePooling3D((2, 1, 2), data_format="channels_first"), VOL),
    "AveragePooling3D, same and uneven": Case(lambda L: L.AveragePooling3D(2, padding="same"), VOL, keras=REPEATS_THE_EDGE),
    "GlobalAveragePooling1D": Case(lambda L: L.GlobalAveragePooling1D(), SEQ),
    "GlobalAveragePooling1D, masked": Case(lambda L: L.GlobalAveragePooling1D(keepdims=True), SEQ, call={"mask": MASK}),
    "GlobalAveragePooling1D, masked, channels first": Case(
        lambda L: L.GlobalAveragePooling1D("channels_first"), SEQ.swapaxes(1, 2).copy(), call={"mask": MASK}
    ),
    "GlobalAveragePooling2D": Case(lambda L: L.GlobalAveragePooling2D(keepdims=True), IMG),
    "GlobalAveragePooling2D, channels first": Case(lambda L: L.GlobalAveragePooling2D("channels_first"), IMG),
    "GlobalAveragePooling3D": Case(lambda L: L.GlobalAveragePooling3D(), VOL),
    "GlobalMaxPooling1D": Case(lambda L: L.GlobalMaxPooling1D(), SEQ),
    "GlobalMaxPooling1D, channels first": Case(lambda L: L.GlobalMaxPooling1D("channels_first", keepdims=True), SEQ),
    "GlobalMaxPooling2D": Case(lambda L: L.GlobalMaxPooling2D(keepdims=True), IMG),
    "GlobalMaxPooling3D": Case(lambda L: L.GlobalMaxPooling3D(), VOL),
    "MaxPooling1D": Case(lambda L: L.MaxPooling1D(), SEQ),
    "MaxPooling1D, same": Case(lambda L: L.MaxPooling1D(2, 1, "same"), SEQ),
    "MaxPooling2D": Case(lambda L: L.MaxPooling2D((2, 3), 1, "same"), IMG),
    "MaxPooling2D, channels first": Case(lambda L: L.MaxPooling2D(3, (1, 2), data_format="channels_first"), IMG),
    "MaxPooling3D": Case(lambda L: L.MaxPooling3D(), VOL),
    "MaxPooling3D, same": Case(lambda L: L.MaxPooling3D((2, 3, 4), (2, 1, 3), "same"), VOL),
}
