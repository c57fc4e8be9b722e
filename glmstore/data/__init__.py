"""Data: fetch verified files, read published formats, split, and report leakage."""
