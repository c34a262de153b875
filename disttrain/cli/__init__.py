"""The `disttrain` command: parse, build a config, call one function, print.

Exit codes: 0 done · 1 the user's code failed · 2 wrong use · 3 infrastructure, run it again · 130 interrupted.
"""

from disttrain.cli.app import main

__all__ = ["main"]
