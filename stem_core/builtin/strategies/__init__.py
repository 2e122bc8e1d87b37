"""The concurrency strategies that come with the core."""
