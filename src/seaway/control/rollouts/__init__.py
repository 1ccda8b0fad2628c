"""Rollouts in the control process: what people ask of them, what is observed, and what the decision does to the store."""
