"""Cases of the layers in `layers/convolutional/`."""

from __future__ import annotations

from layer_case import IMG, SEQ, VOL, Case

CASES: dict[str, Case] = {
    "Conv1D": Case(lambda L: L.Conv1D(4, 3), SEQ),
    "Conv1D, causal": Case(lambda L: L.Conv1D(4, 2, padding="causal", dilation_rate=2, activation="tanh"), SEQ),
    "Conv1D, channels first": Case(lambda L: L.Conv1D(5, 2, 2, "same", "channels_first", groups=5), SEQ),
    "Conv2D": Case(lambda L: L.Conv2D(4, 3, padding="same", strides=2, activation="relu", groups=2), IMG),
    "Conv2D, windows of one element": Case(lambda L: L.Conv2D(3, 1, strides=2), IMG),
    "Conv2D, channels first": Case(
        lambda L: L.Conv2D(2, (2, 3), data_format="channels_first", use_bias=False, kernel_regularizer="l1"), IMG
    ),
    "Conv2D, regularized and constrained": Case(
        lambda L: L.Conv2D(
            3,
            (3, 2),
            padding="same",
            dilation_rate=(2, 1),
            kernel_initializer="he_normal",
            bias_initializer="ones",
            kernel_regularizer="l2",
            bias_regularizer="l1",
            activity_regularizer="l2",
            kernel_constraint="max_norm",
            bias_constraint="non_neg",
        ),
        IMG,
    ),
    "Conv3D": Case(lambda L: L.Conv3D(3, (2, 1, 3), strides=(1, 2, 2), padding="same"), VOL),
    "Conv3D, channels first": Case(lambda L: L.Conv3D(3, 2, data_format="channels_first", activation="gelu"), VOL),
    "Conv1DTranspose": Case(lambda L: L.Conv1DTranspose(4, 3, strides=2, padding="same"), SEQ),
    "Conv1DTranspose, channels first": Case(lambda L: L.Conv1DTranspose(2, 2, 3, "valid", 1, "channels_first"), SEQ),
    "Conv2DTranspose": Case(lambda L: L.Conv2DTranspose(3, (3, 2), strides=(2, 1), padding="same", activation="relu"), IMG),
    "Conv2DTranspose, dilated": Case(
        lambda L: L.Conv2DTranspose(3, 2, dilation_rate=2, use_bias=False, kernel_regularizer="l2", kernel_constraint="unit_norm"), IMG
    ),
    "Conv2DTranspose, output padding": Case(lambda L: L.Conv2DTranspose(3, 3, 3, "same", output_padding=(1, 2)), IMG),
    "Conv3DTranspose": Case(lambda L: L.Conv3DTranspose(2, 2, (2, 1, 3), "same"), VOL),
    "Conv3DTranspose, channels first": Case(lambda L: L.Conv3DTranspose(2, 2, 2, "valid", "channels_first", 1), VOL),
    "DepthwiseConv1D": Case(lambda L: L.DepthwiseConv1D(3, 2, "same", depth_multiplier=2), SEQ),
    "DepthwiseConv1D, channels first": Case(
        lambda L: L.DepthwiseConv1D(2, data_format="channels_first", dilation_rate=2, use_bias=False), SEQ
    ),
    "DepthwiseConv2D": Case(lambda L: L.DepthwiseConv2D((3, 2), padding="same", depth_multiplier=3, activation="relu"), IMG),
    "DepthwiseConv2D, regularized and constrained": Case(
        lambda L: L.DepthwiseConv2D(
            2,
            (1, 2),
            depthwise_initializer="he_uniform",
            depthwise_regularizer="l2",
            bias_regularizer="l1",
            depthwise_constraint="non_neg",
            bias_constraint="max_norm",
        ),
        IMG,
    ),
    "SeparableConv1D": Case(lambda L: L.SeparableConv1D(4, 3, 2, "same", depth_multiplier=2), SEQ),
    "SeparableConv1D, channels first": Case(lambda L: L.SeparableConv1D(4, 2, data_format="channels_first", dilation_rate=2), SEQ),
    "SeparableConv2D": Case(lambda L: L.SeparableConv2D(5, (2, 3), padding="same", depth_multiplier=2, activation="relu"), IMG),
    "SeparableConv2D, regularized and constrained": Case(
        lambda L: L.SeparableConv2D(
            5,
            2,
            2,
            use_bias=False,
            depthwise_regularizer="l2",
            pointwise_regularizer="l1",
            pointwise_initializer="he_normal",
            depthwise_constraint="non_neg",
            pointwise_constraint="unit_norm",
        ),
        IMG,
    ),
}
