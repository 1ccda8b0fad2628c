"""From ended requests to exact counts, the ledger of seconds, and the blocks that sinks get."""
