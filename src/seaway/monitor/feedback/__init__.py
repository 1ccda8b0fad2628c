"""Outcomes that clients report, joined with what was answered, and the quality that follows."""
