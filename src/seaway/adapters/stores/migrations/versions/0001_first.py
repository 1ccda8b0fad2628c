"""Endpoints, revisions, events and idempotency keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Documents are JSON text; columns beside them are what the store asks by."""
    op.create_table(
        "seaway_endpoints",
        sa.Column("endpoint", sa.String(63), primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "seaway_revisions",
        sa.Column("endpoint", sa.String(63), sa.ForeignKey("seaway_endpoints.endpoint"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "seaway_events",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("endpoint", sa.String(63), index=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "seaway_idempotency",
        sa.Column("principal", sa.String(200), primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("result", sa.LargeBinary, nullable=False),
    )
