"""The command line: a verb parses, calls one use case and prints."""
