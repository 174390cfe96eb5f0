"""One reader per kind of document."""
