"""Clients of a running Seaway: of its endpoints (public) and of its control socket (the command line's own)."""
