"""Tokenizers: from normalised sequences to ids with exact nucleotide spans."""
