"""A feature store of genomic-language-model embeddings, with the controls that make them mean something."""

from importlib.metadata import version

__version__ = version("glmstore")
