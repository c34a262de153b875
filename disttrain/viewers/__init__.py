"""Looking into a model: its graph, what each layer gives for an input, and why; `server.launch(model)` shows it in a browser."""

from __future__ import annotations
