"""Seaway and its peers side by side: `make bench`, or `python -m bench --quick --only small --peers mlserver,kserve`."""
