"""Pure values and decisions: no I/O, no clock, no framework. Everything above may import it."""
