"""Every place where text of others is shown: what is printed for a text in it."""

from shown_places import answers, errors_and_files, models, tools
from shown_places.place import PLACES

# Each of the modules adds its places.
__all__ = ["PLACES", "answers", "errors_and_files", "models", "tools"]
