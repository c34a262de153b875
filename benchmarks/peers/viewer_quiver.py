"""What Quiver's server did for a click, written anew: a model up to that layer, a PNG file for each map, each asked for by itself.

After github.com/keplr-io/quiver (MIT), which needs a Keras and a SciPy of 2016. Its steps are kept: `server.py: get_layer_outputs` builds
a Model and predicts, `util.py: deprocess_image` centres each map, and SciPy's `imsave` stretched it to 0..255. The model is ours, so that
the passes take equally long.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

import disttrain as dt


def deprocess_image(x: np.ndarray) -> np.ndarray:
    """Centred on 0.5 with a standard deviation of 0.1, clipped to [0, 1]."""
    centred: np.ndarray = (x - x.mean()) / (x.std() + 1e-5) * 0.1 + 0.5
    return centred.clip(0, 1)


def save_layer_outputs(model: Any, layer: str, picture: Path, folder: Path) -> list[str]:
    """The names of the PNG files that a click on `layer` wrote into `folder`."""
    height, width = model.inputs[0].shape[1:3]
    with Image.open(picture) as image:
        x = np.asarray(image.convert("RGB").resize((width, height)), dtype=np.float32)[None] / 255
    maps = dt.Model(model.inputs, model.get_layer(layer).output).predict(x, verbose=0)[0]
    names = []
    for number in range(maps.shape[-1]):
        shown = deprocess_image(maps[:, :, number])
        span = float(shown.max() - shown.min()) or 1.0
        names.append(f"{layer}_{number}_{picture.name}.png")
        Image.fromarray(np.uint8((shown - shown.min()) * (255 / span))).save(folder / names[-1])
    return names


class Server:
    """Its addresses `/layer/LAYER/PICTURE` and `/temp-file/NAME`, and `/bytes`, which the measured limit asks for.

    Args:
        model: built.
        pictures: the input folder.
        folder: where PNG files go.
        payload: what `/bytes` answers with.
    """

    def __init__(self, model: Any, pictures: Path, folder: Path, payload: bytes) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            match Request(environ).path.strip("/").split("/"):
                case ["layer", layer, picture]:
                    names = save_layer_outputs(model, layer, pictures / picture, folder)
                    answer = Response(json.dumps(names), content_type="application/json")
                case ["temp-file", name]:
                    answer = Response((folder / name).read_bytes(), content_type="image/png")
                case ["bytes"]:
                    answer = Response(payload, content_type="application/octet-stream")
                case _:
                    answer = Response("<!doctype html><title>Quiver</title>", content_type="text/html")
            return answer(environ, start_response)

        class Quiet(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: Any) -> None:
                """Nothing."""

        self._server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
