"""Rollouts: how traffic moves from the stable revision to a candidate, and what is decided on the way.

`spec` is what users write, `state` what is stored, `judging` makes one verdict of all evidence, `decision` turns a moment
into at most one action. All pure; `control.rollouts` observes and acts.
"""
