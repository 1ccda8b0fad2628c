"""Bytes to core values and back, pure: one module per protocol."""
