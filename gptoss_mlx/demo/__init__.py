"""The demo model that ships in the package."""
