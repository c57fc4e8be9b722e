"""The command line, less the commands that start flows.

`main_app` builds it and `run_cli` runs it; whoever adds commands takes both, so that every command reports
errors in the same way. Importing this package imports neither torch nor lancedb nor Prefect.
"""

from glmstore.cli.app import main_app, run_cli

__all__ = ["main_app", "run_cli"]
