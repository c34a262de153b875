"""A whole run on simulated time: the real controller, call machine and `decide`, with models of everything around them, from a seed.

    world      the clock and the queue of what is going to happen
    scenario   what a seed says: the run, and the faults that strike it
    call       the ticks of a call, and what one process would make of them
    contracts  what each part needs of those above it
    process    a worker's process: starts, freezes, dies; its line to the driver
    worker     what runs in it: takes commands and steps as `elastic.member.Member` does
    part_writer  its parts of checkpoints
    group      the collectives of a generation
    cluster    the Cluster port
    storage    checkpoints, and the real `Committer` without its thread
    script     the mailbox and the callbacks
    promises   what must hold, whatever happens
    run        one simulation from beginning to end; `shrink` makes a failing one small

`python -m disttrain.testing.simulation SEED` replays one.
"""
