"""The ``browser`` tool: search, open and find, in the pages of a back end."""
