"""The format gpt-oss speaks."""
