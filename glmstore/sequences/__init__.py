"""Sequences: normalise, key, encode, edit, shuffle, and read from a genome."""
