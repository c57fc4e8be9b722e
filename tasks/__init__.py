"""Prefect tasks: thin wrappers that load by name, call one glmstore function and return references."""
