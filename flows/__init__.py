"""Prefect flows, and the command line that mounts them."""
