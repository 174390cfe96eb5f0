"""``gptoss-mlx share --to FOLDER``."""

from __future__ import annotations

import shlex
from pathlib import Path

from gptoss_mlx.cli.output import print_line, say

__all__ = ["share_to_disk"]


def share_to_disk(model: str, folder: Path, place: Path) -> None:
    """Copy a folder to a disk, and print where it is."""
    from gptoss_mlx.cli.download import interrupted_once
    from gptoss_mlx.cli.progress import byte_progress, size_text
    from gptoss_mlx.manifest_digest import model_id
    from gptoss_mlx.sharing.disk import copy_to_disk

    with interrupted_once():
        try:
            copy = copy_to_disk(folder, place, say=say, step=byte_progress)
        except (KeyboardInterrupt, SystemExit):
            # A signal to end raises SystemExit.
            command = ["gptoss-mlx", "share", model, "--to", str(place)]
            say(f"Stopped. To continue: {shlex.join(command)}")
            raise
    if copy.cloned:
        say(f"{size_text(copy.cloned)} share the disk's blocks with the model.")
    name = model_id(copy.folder.name, copy.digest)
    if copy.was_there:
        say(f"Already there, and every byte is as in the model: {name}")
    else:
        say(f"Every byte was read back and compared: {name}")
    print_line(copy.folder)
    # A plain word would be read as a name in the store.
    there = copy.folder if len(copy.folder.parts) > 1 else f"./{copy.folder}"
    say(f"To use it there: {shlex.join(['gptoss-mlx', 'chat', str(there)])}")
