"""Seaway: from a trained model to a served, versioned, reversible endpoint."""

from __future__ import annotations

__version__ = "0.1.0"
