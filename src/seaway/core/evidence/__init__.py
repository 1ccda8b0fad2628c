"""Evidence for and against a candidate on live traffic, that may be looked at as often as one likes.

One module for each test; `combining` makes verdicts of them. The method and its proof: docs/statistics.md. `control`
feeds it counts of the ledger; all values are frozen and can be kept as JSON, so that a rollout resumes where it stopped.
"""
