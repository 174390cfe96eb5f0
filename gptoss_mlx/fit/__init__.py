"""What fits a machine, and how fast what does not fit is streamed."""
