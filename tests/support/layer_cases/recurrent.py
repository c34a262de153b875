"""Cases of the layers in `layers/recurrent/`."""

from __future__ import annotations

from layer_case import SEQ, Case

CASES: dict[str, Case] = {
    "GRU": Case(lambda L: L.GRU(4, return_sequences=True), SEQ),
    "GRU, dropout": Case(lambda L: L.GRU(4, return_sequences=True, dropout=0.3), SEQ, drawn=True),
    "GRU, reset before": Case(lambda L: L.GRU(4, reset_after=False, recurrent_dropout=0.3, activation="relu"), SEQ, drawn=True),
    "LSTM": Case(lambda L: L.LSTM(4, return_state=True, return_sequences=True), SEQ),
    "LSTM, step by step": Case(lambda L: L.LSTM(4, recurrent_dropout=0.3, go_backwards=True, unit_forget_bias=False), SEQ, drawn=True),
    "SimpleRNN": Case(lambda L: L.SimpleRNN(4, return_sequences=True, recurrent_dropout=0.5), SEQ, drawn=True),
    "SimpleRNN, fused": Case(lambda L: L.SimpleRNN(4, use_bias=False), SEQ),
}
