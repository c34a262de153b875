"""What `gpu_check.py` looks at, a kind of check in a file."""
