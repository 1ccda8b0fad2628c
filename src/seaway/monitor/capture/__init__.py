"""Payloads of a sample of the requests: redacted, spooled, converted, erased."""
