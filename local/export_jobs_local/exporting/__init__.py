"""Real exports: DuckDB reads, merges, filters and writes profiles (docs/local-data.md)."""
