"""The request log, and how Elasticsearch takes it."""
