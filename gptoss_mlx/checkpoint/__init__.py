"""Read gpt-oss checkpoints in every layout they come in."""
