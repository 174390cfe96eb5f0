"""What this machine is, and whether the program is right on it."""
