"""The command line, `export-jobs`: one command for the local system and for a deployed stack."""

from export_jobs_local.cli.main import main

__all__ = ["main"]
