"""Files that ship in the package: the vocabulary and the demo model."""
