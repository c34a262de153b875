"""`jit_compile=True`: forward pass and loss through torch.compile. Imports the compiler only when somebody asks for it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from disttrain.layers.context import CallContext

_RECOMPILATIONS = 64  # one for each size of slice and each phase, of every model; beyond torch's own limit it would run eagerly


def compiled(function: Callable[..., Any], described: str, undo: Callable[..., None] = lambda *arguments: None) -> Callable[..., Any]:
    """`function` as torch.compile makes it; where the compiler fails, `function` itself, with one warning that says why.

    `undo`, given the same arguments, takes back what a part of the function may have done before the compiler failed at another.
    Each size of a slice is compiled on its own: a kernel for any size may round otherwise, and which sizes a worker meets first differs.
    """
    import torch._dynamo  # late: the compiler takes seconds to load
    import torch._dynamo.exc

    _leave_draws_alone()
    for words in ("Dynamo does not know how to trace the builtin", "The .grad attribute of a Tensor that is not a leaf"):
        warnings.filterwarnings("ignore", message=words, module=r"torch\.")  # its own business
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _RECOMPILATIONS)
    quick = torch.compile(function, backend=functools.partial(_backend, described=described), dynamic=False)
    failed = False

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        nonlocal failed
        if not failed:
            try:
                return quick(*arguments)
            except torch._dynamo.exc.TorchDynamoException as error:  # what the user's code raises comes through as it is
                failed = True
                _warn(described, error)
                undo(*arguments)
        return function(*arguments)

    return run


def _backend(graph: Any, inputs: list[Any], described: str) -> Any:
    """Inductor; a graph that it cannot take, for want of a C++ compiler perhaps, runs as it is."""
    from torch._inductor.compile_fx import compile_fx  # late: see above

    try:
        return compile_fx(graph, inputs)
    except Exception as error:  # of many kinds, all of them the compiler's
        _warn(described, error)
        return graph.forward


@functools.lru_cache(maxsize=256)
def _warn_once(described: str) -> bool:
    return True


def _warn(described: str, error: BaseException) -> None:
    before = _warn_once.cache_info().misses
    _warn_once(described)
    if _warn_once.cache_info().misses > before:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        warnings.warn(f"jit_compile=True: {described} runs without the compiler, which failed: {reason.strip()[:300]}", stacklevel=4)


@functools.cache
def _leave_draws_alone() -> None:
    """Keys and words are drawn in Python and NumPy, which the compiler cannot follow: there it steps aside, without a word."""
    import torch._dynamo  # late: see above

    CallContext.draw = torch._dynamo.disable(CallContext.draw)  # type: ignore[method-assign]
    CallContext.generator = torch._dynamo.disable(CallContext.generator)  # type: ignore[method-assign]
