"""What is known of single requests: kept in segments, found by request id."""
