"""Calls carried out in this process."""
