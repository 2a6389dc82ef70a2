"""The command line, `export-jobs`, for deployed stacks and for the local system."""

from export_jobs_cli.main import main

__all__ = ["main"]
