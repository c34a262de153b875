"""What each layer does on GPUs while training is deterministic: a table, which `docs/determinism.md` shows and tests hold every layer to.

By "as it is" is meant: torch has a deterministic kernel for all that it computes, forward and backward, which it chooses by itself.
"""

from __future__ import annotations

AS_IT_IS, REWRITTEN, OWN_DRAWS, AS_ITS_CONTENT = "as it is", "rewritten", "own draws", "as what it holds"
ON_THE_HOST = "on the host"  # it waits for its inputs there

_PRODUCTS = "bilinear and bicubic by products with the weights of rows and columns; nearest as it is"
_REWRITTEN = {
    "AdaptiveAveragePooling1D": "products with the share of each element in each window",
    "AdaptiveAveragePooling2D": "products with the share of each element in each window",
    "AdaptiveAveragePooling3D": "products with the share of each element in each window",
    "AdaptiveMaxPooling1D": "the largest of gathered windows, axis by axis",
    "AdaptiveMaxPooling2D": "the largest of gathered windows, axis by axis",
    "AdaptiveMaxPooling3D": "the largest of gathered windows, axis by axis",
    "AveragePooling3D": "means over height and width, then over depth; with either padding",
    "AvgPool3D": "means over height and width, then over depth; with either padding",
    "CenterCrop": f"where images are too small for the window: {_PRODUCTS}",
    "RandomCrop": f"where images are too small for the window: {_PRODUCTS}; places are drawn on the host",
    "Resizing": _PRODUCTS,
    "UpSampling2D": _PRODUCTS,
}
_MASK = "masks from Philox, the same on every device"
_NOISE = "normal numbers from Philox, the same on every GPU; on CPUs torch's"
_OWN_DRAWS = {
    **dict.fromkeys(("AlphaDropout", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), _MASK),
    **dict.fromkeys(("GaussianDropout", "GaussianNoise"), _NOISE),
    "RandomErasing": f"uniform numbers from Philox; with fill_value=None {_NOISE}",
    **dict.fromkeys(
        ("RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom"),
        "uniform numbers from Philox, the same on every device",
    ),
}
_REMEDY = "what torch refuses in it is named: another module, or dt.set_determinism(False)"
_AS_ITS_CONTENT = {
    "Bidirectional": "the layer inside",
    "Lambda": f"the function; {_REMEDY}",
    "RNN": "the cell",
    "StackedRNNCells": "the cells",
    "TimeDistributed": "the layer inside",
    "TorchModule": f"the module; {_REMEDY}",
    "Wrapper": "the layer inside",
}
_ON_THE_HOST = ("HashedCrossing", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization")
_AS_IT_IS = """
    Activation ActivityRegularization Add AdditiveAttention Attention Average AveragePooling1D AveragePooling2D AvgPool1D AvgPool2D
    BatchNormalization CategoryEncoding Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D
    ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D Convolution3DTranspose
    Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot ELU EinsumDense Embedding Flatten GRU
    GRUCell GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D
    GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
    GroupQueryAttention Identity InputLayer LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxPool1D MaxPool2D MaxPool3D MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization ReLU RepeatVector
    Rescaling Reshape ReversibleEmbedding SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D SimpleRNN
    SimpleRNNCell Softmax SpectralNormalization Subtract UnitNormalization UpSampling1D UpSampling3D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D
"""

# By layer: (what it does, in which way).
STRICT_MODE: dict[str, tuple[str, str]] = {
    **dict.fromkeys(_AS_IT_IS.split(), (AS_IT_IS, "")),
    **{name: (REWRITTEN, way) for name, way in _REWRITTEN.items()},
    **{name: (OWN_DRAWS, way) for name, way in _OWN_DRAWS.items()},
    **{name: (AS_ITS_CONTENT, way) for name, way in _AS_ITS_CONTENT.items()},
    **dict.fromkeys(_ON_THE_HOST, (ON_THE_HOST, "in Python; the result goes to where the input lay")),
}


def as_markdown() -> str:
    """The table as the page shows it."""
    lines = ["| layer | on GPUs | how |", "|---|---|---|"]
    lines += [f"| `{name}` | {does} | {way} |" for name, (does, way) in sorted(STRICT_MODE.items())]
    return "\n".join(lines)
