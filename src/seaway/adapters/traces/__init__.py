"""Ways for spans to leave the process."""
