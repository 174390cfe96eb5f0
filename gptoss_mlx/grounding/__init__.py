"""Answers from a library: a first search, checked citations, and their sources."""
