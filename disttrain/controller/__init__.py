"""One call, carried through a cluster: hears, decides and performs, while the script's own thread runs the callbacks."""
