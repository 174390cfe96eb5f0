"""The ``python`` tool."""
