"""Conversations: what is said, one turn after the other, and what the answer is."""
