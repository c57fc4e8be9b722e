"""What one Prefect server and one object store carry: ``make load``."""
