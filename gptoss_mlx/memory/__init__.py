"""What the machine can hold."""
