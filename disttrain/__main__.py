"""`python -m disttrain` is the `disttrain` command."""

from disttrain.cli import main

main()
