"""Real exports: profiles read, merged, filtered and written as Parquet by DuckDB (docs/local-data.md)."""
