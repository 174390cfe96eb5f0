"""Harmony, the format that gpt-oss reads and writes."""
