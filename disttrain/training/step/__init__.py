"""One step on one worker: a workspace, and above it three ways to carry the step out."""
