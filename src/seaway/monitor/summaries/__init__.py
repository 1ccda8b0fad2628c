"""Mergeable summaries of inputs, answers and confidences, by revision and window."""
