"""Adapters of `orchestrator.ports.Cluster`: where worker processes come from."""
