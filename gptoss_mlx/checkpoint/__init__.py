"""Reads gpt-oss checkpoints in every layout."""
