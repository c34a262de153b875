"""Workers as Ray actors: the only place that imports Ray. It starts, tells, hears and ends processes, and makes no choices.

`instance` starts or joins a Ray; `cluster` is the Cluster port; `actor` is the process of a worker.
"""
