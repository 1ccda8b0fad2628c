"""Alembic's entry: runs the migrations on the connection that `adapters.stores.sql` opened."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="seaway_schema", transaction_per_migration=False)
context.run_migrations()
