"""Zero-shot variant scores."""
