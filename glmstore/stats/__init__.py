"""Statistics: paired, clustered, hierarchical intervals."""
