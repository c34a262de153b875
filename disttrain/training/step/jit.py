"""`jit_compile=True`: forward pass and loss through torch.compile. Imports the compiler only when somebody asks for it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from disttrain.errors import UsageError
from disttrain.layers.context import CallContext

_RECOMPILATIONS = 1 << 16  # one for each size of slice and each phase, of every model: beyond its limit torch runs eagerly, without a word


def compiled(
    function: Callable[..., Any], described: str, undo: Callable[..., None] = lambda *arguments: None,
    *, same_everywhere: bool = False, deterministic: bool = True,
) -> Callable[..., Any]:  # fmt: skip
    """`function` as torch.compile makes it; where the compiler fails, `function` itself, with one warning that says why.

    Each size of a slice is compiled on its own: a kernel for any size may round otherwise, and which sizes a worker meets first differs.

    Args:
        undo: given the same arguments, takes back what a part of the function may have done before the compiler failed at another.
        same_everywhere: other processes compute with it too, and are to get the same bits: then a compiler that fails is an error, for what
            it would have made rounds otherwise than the function itself.
        deterministic: kernels are not chosen by what is fastest at the moment.
    """
    import torch._dynamo  # late: the compiler takes seconds to load
    import torch._dynamo.exc

    _leave_draws_alone()
    for words in ("Dynamo does not know how to trace the builtin", "The .grad attribute of a Tensor that is not a leaf"):
        warnings.filterwarnings("ignore", message=words, module=r"torch\.")  # its own business
    for limit in ("recompile_limit", "accumulated_recompile_limit"):
        setattr(torch._dynamo.config, limit, max(getattr(torch._dynamo.config, limit), _RECOMPILATIONS))
    fails = _refuse if same_everywhere else _warn
    backend = functools.partial(_backend, described=described, fails=fails, deterministic=deterministic)
    quick = torch.compile(function, backend=backend, dynamic=False)
    failed = False

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        nonlocal failed
        if not failed:
            try:
                return quick(*arguments)
            except torch._dynamo.exc.TorchDynamoException as error:  # what the user's code raises comes through as it is
                if isinstance(refused := getattr(error, "inner_exception", None), UsageError):  # what `_backend` raised
                    raise refused from None
                failed = True
                fails(described, error)
                undo(*arguments)
        return function(*arguments)

    return run


def _backend(graph: Any, inputs: list[Any], described: str, fails: Callable[[str, BaseException], None], deterministic: bool) -> Any:
    """Inductor; a graph that it cannot take, for want of a C++ compiler perhaps, runs as it is, if `fails` lets it."""
    import torch._inductor.config  # late: see above
    from torch._inductor.compile_fx import compile_fx  # late: see above

    wanted = {"deterministic": True} if deterministic and hasattr(torch._inductor.config, "deterministic") else {}  # torch 2.9 has it
    try:
        return compile_fx(graph, inputs, config_patches=wanted)
    except Exception as error:  # of many kinds, all of them the compiler's
        fails(described, error)
        return graph.forward


def _refuse(described: str, error: BaseException) -> None:
    raise UsageError(
        f"jit_compile=True: {described} cannot be compiled here: {_reason(error)}\n"
        "  expected  a compiler that takes it, on every worker: one that computes without it gets other bits than the rest\n"
        "  try       a C++ compiler on each machine, if that is what is missing; or compile(..., jit_compile=False)"
    )


def _reason(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()[:300]


@functools.lru_cache(maxsize=256)
def _warn_once(described: str) -> bool:
    return True


def _warn(described: str, error: BaseException) -> None:
    before = _warn_once.cache_info().misses
    _warn_once(described)
    if _warn_once.cache_info().misses > before:
        warnings.warn(f"jit_compile=True: {described} runs without the compiler, which failed: {_reason(error)}", stacklevel=4)


@functools.cache
def _leave_draws_alone() -> None:
    """Keys and words are drawn in Python and NumPy, which the compiler cannot follow: there it steps aside, without a word."""
    import torch._dynamo  # late: see above

    CallContext.draw = torch._dynamo.disable(CallContext.draw)  # type: ignore[method-assign]
    CallContext.generator = torch._dynamo.disable(CallContext.generator)  # type: ignore[method-assign]
