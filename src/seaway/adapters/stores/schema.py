"""The state store's tables as `sql` asks them; `migrations` makes them, and a test compares the two."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

endpoints = sa.Table(
    "seaway_endpoints",
    metadata,
    sa.Column("endpoint", sa.String(63), primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)
revisions = sa.Table(
    "seaway_revisions",
    metadata,
    sa.Column("endpoint", sa.String(63), sa.ForeignKey("seaway_endpoints.endpoint"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(71), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)
events = sa.Table(
    "seaway_events",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("endpoint", sa.String(63), index=True),
    sa.Column("document", sa.Text, nullable=False),
)
idempotency = sa.Table(
    "seaway_idempotency",
    metadata,
    sa.Column("principal", sa.String(200), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("body_hash", sa.String(64), nullable=False),
    sa.Column("result", sa.LargeBinary, nullable=False),
)
