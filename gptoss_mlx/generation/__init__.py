"""Prefill, decode and sampling: from a prompt to tokens."""
