"""Conversations: messages, turns, tool calls and answers."""
