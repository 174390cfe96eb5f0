"""The gpt-oss transformer on MLX."""
