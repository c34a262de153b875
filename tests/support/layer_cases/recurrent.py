"""Cases of the layers in `layers/recurrent/`."""

from __future__ import annotations

import numpy as np
from layer_case import SEQ, VEC, Case, floats

MASK = np.array([[True, True, False, True, False], [False, True, True, False, False]])
MASKS = np.array([[[True, True, False, True, False]] * 3, [[False, True, True, False, False]] * 3])
STATE, OTHER = floats(3, 4), floats(3, 4)
START, START_C = floats(2, 4), floats(2, 4)

CASES: dict[str, Case] = {
    "Bidirectional": Case(lambda L: L.Bidirectional(L.LSTM(4, return_sequences=True)), SEQ),
    "Bidirectional, two layers": Case(lambda L: L.Bidirectional(L.GRU(4), "mul", backward_layer=L.GRU(4, "relu", go_backwards=True)), SEQ),
    "Bidirectional, masked": Case(
        lambda L: L.Bidirectional(L.LSTM(4, return_sequences=True, return_state=True), "sum"), SEQ, {"mask": MASK}
    ),
    "Bidirectional, not merged": Case(lambda L: L.Bidirectional(L.SimpleRNN(4, return_state=True), None), SEQ),
    "Bidirectional, start": Case(lambda L: L.Bidirectional(L.GRU(4), "ave"), SEQ, {"initial_state": [START, START_C]}),
    "ConvLSTM1D": Case(lambda L: L.ConvLSTM1D(3, 3, return_sequences=True, return_state=True), floats(2, 4, 6, 2)),
    "ConvLSTM1D, dropout": Case(lambda L: L.ConvLSTM1D(3, 2, dropout=0.2, recurrent_dropout=0.2, seed=1), floats(2, 4, 6, 2), drawn=True),
    "ConvLSTM2D": Case(lambda L: L.ConvLSTM2D(3, (3, 2), strides=2, padding="same"), floats(2, 3, 5, 4, 2)),
    "ConvLSTM2D, masked": Case(
        lambda L: L.ConvLSTM2D(2, 3, dilation_rate=2, return_sequences=True), floats(2, 5, 6, 6, 2), {"mask": MASK}, tolerance=2e-5
    ),
    "ConvLSTM3D": Case(lambda L: L.ConvLSTM3D(2, 2, go_backwards=True, use_bias=False), floats(1, 2, 3, 4, 3, 2)),
    "GRU": Case(lambda L: L.GRU(4, return_sequences=True), SEQ),
    "GRU, dropout": Case(lambda L: L.GRU(4, return_sequences=True, dropout=0.3, seed=1), SEQ, drawn=True),
    "GRU, last": Case(lambda L: L.GRU(4, use_bias=False, go_backwards=True, bias_initializer="ones"), SEQ),
    "GRU, masked": Case(lambda L: L.GRU(4, return_sequences=True, return_state=True), SEQ, {"mask": MASK}),
    "GRU, reset before": Case(lambda L: L.GRU(4, reset_after=False, recurrent_dropout=0.3, activation="relu"), SEQ, drawn=True),
    "GRU, reset before, masked": Case(lambda L: L.GRU(4, reset_after=False, return_sequences=True), SEQ, {"mask": MASK}),
    "GRU, start": Case(lambda L: L.GRU(4, return_state=True), SEQ, {"initial_state": START}),
    "GRU, step by step": Case(lambda L: L.GRU(4, "sigmoid", "tanh", return_sequences=True, unroll=True), SEQ),
    "GRUCell": Case(lambda L: L.GRUCell(4), [VEC, STATE], spread=True),
    "GRUCell, dropout": Case(lambda L: L.GRUCell(4, dropout=0.2, recurrent_dropout=0.2, seed=3), [VEC, STATE], spread=True, drawn=True),
    "GRUCell, reset before": Case(lambda L: L.GRUCell(4, reset_after=False, use_bias=False), [VEC, [STATE]], spread=True),
    "LSTM": Case(lambda L: L.LSTM(4, return_state=True, return_sequences=True), SEQ),
    "LSTM, backwards": Case(lambda L: L.LSTM(4, go_backwards=True, unit_forget_bias=False, use_bias=False), SEQ),
    "LSTM, dropout": Case(lambda L: L.LSTM(4, dropout=0.3), SEQ, drawn=True),
    "LSTM, masked": Case(lambda L: L.LSTM(4, return_sequences=True, return_state=True), SEQ, {"mask": MASK}),
    "LSTM, masked, zeros": Case(lambda L: L.LSTM(4, return_sequences=True, zero_output_for_mask=True), SEQ, {"mask": MASK}),
    "LSTM, regularized": Case(
        lambda L: L.LSTM(
            3,
            kernel_regularizer="l2",
            recurrent_regularizer="l1",
            bias_regularizer="l2",
            activity_regularizer="l1",
            kernel_constraint="max_norm",
            recurrent_constraint="unit_norm",
            bias_constraint="non_neg",
        ),
        SEQ,
    ),
    "LSTM, start": Case(lambda L: L.LSTM(4, return_sequences=True), SEQ, {"initial_state": [START, START_C]}),
    "LSTM, step by step": Case(lambda L: L.LSTM(4, "relu", "hard_sigmoid", return_state=True), SEQ),
    "LSTM, step by step, masked": Case(lambda L: L.LSTM(4, "relu", return_sequences=True), SEQ, {"mask": MASK}),
    "LSTM, recurrent dropout": Case(lambda L: L.LSTM(4, recurrent_dropout=0.3, dropout=0.2, seed=7), SEQ, drawn=True),
    "LSTMCell": Case(lambda L: L.LSTMCell(4), [VEC, [STATE, OTHER]], spread=True),
    "LSTMCell, linear": Case(lambda L: L.LSTMCell(4, None, "relu", False), [VEC, [STATE, OTHER]], spread=True),
    "RNN": Case(lambda L: L.RNN(L.LSTMCell(4), return_sequences=True, return_state=True), SEQ),
    "RNN, list of cells": Case(lambda L: L.RNN([L.GRUCell(4), L.LSTMCell(3), L.SimpleRNNCell(2)], return_sequences=True), SEQ),
    "RNN, masked": Case(lambda L: L.RNN(L.SimpleRNNCell(4, "selu"), go_backwards=True), SEQ, {"mask": MASK}),
    "RNN, stack, masked": Case(
        lambda L: L.RNN([L.LSTMCell(4), L.LSTMCell(3)], return_sequences=True, return_state=True), SEQ, {"mask": MASK}
    ),
    "SimpleRNN": Case(lambda L: L.SimpleRNN(4, return_sequences=True, recurrent_dropout=0.5, dropout=0.1), SEQ, drawn=True),
    "SimpleRNN, fused": Case(lambda L: L.SimpleRNN(4, use_bias=False), SEQ),
    "SimpleRNN, masked": Case(lambda L: L.SimpleRNN(4, "relu", return_sequences=True, zero_output_for_mask=True), SEQ, {"mask": MASK}),
    "SimpleRNN, states": Case(lambda L: L.SimpleRNN(4, "relu", return_sequences=True, return_state=True), SEQ),
    "SimpleRNNCell": Case(lambda L: L.SimpleRNNCell(4), [VEC, STATE], spread=True),
    "TimeDistributed": Case(lambda L: L.TimeDistributed(L.Dense(4, "relu")), SEQ),
    "TimeDistributed, images": Case(lambda L: L.TimeDistributed(L.Conv2D(2, 2)), floats(2, 3, 4, 4, 2)),
    "TimeDistributed, statistics": Case(lambda L: L.TimeDistributed(L.BatchNormalization()), SEQ),
    "TimeDistributed, masked": Case(lambda L: L.TimeDistributed(L.LSTM(3)), floats(2, 3, 5, 2), {"mask": MASKS}),
    "StackedRNNCells": Case(lambda L: L.StackedRNNCells([L.LSTMCell(4), L.GRUCell(4)]), [VEC, [[STATE, OTHER], STATE]], spread=True),
}
