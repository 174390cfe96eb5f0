"""The ``browser`` tool: search, open and find, over pages that a back end has."""
