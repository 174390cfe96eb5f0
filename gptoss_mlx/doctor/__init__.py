"""Describes this machine, and tests the program on it."""
