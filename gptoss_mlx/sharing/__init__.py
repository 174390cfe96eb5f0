"""Checkpoints from elsewhere, and to elsewhere."""
