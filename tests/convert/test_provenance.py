from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.provenance import provenance_of
from gptoss_mlx.manifest import Provenance

REVISION = "6cee5e81ee83917806bbde320786a8fb61efebee"


@pytest.mark.parametrize(
    ("inner", "layout"), [(".", "huggingface"), ("original", "original")]
)
def test_a_snapshot_in_the_hugging_face_cache(
    source: Path, tmp_path: Path, inner: str, layout: str
) -> None:
    """The folders' names tell repository and revision; the files are links."""
    cached = tmp_path / "models--openai--gpt-oss-20b" / "snapshots" / REVISION
    shutil.copytree(source, cached, copy_function=lambda a, b: Path(b).symlink_to(a))

    assert provenance_of(open_checkpoint(cached / inner)) == Provenance(
        layout, "openai/gpt-oss-20b", REVISION, "gpt-oss-20b"
    )


@pytest.mark.parametrize("inner", ["", "original"])
def test_a_folder_that_hugging_face_downloaded_to(
    source: Path, tmp_path: Path, inner: str
) -> None:
    """Its hidden metadata has the revision."""
    folder = tmp_path / "gpt-oss"
    shutil.copytree(source, folder)
    notes = folder / ".cache" / "huggingface" / "download" / inner
    notes.mkdir(parents=True)
    (notes / "config.json.metadata").write_text(f"{REVISION}\nabc\n1.5\n")
    found = provenance_of(open_checkpoint(folder / inner))

    assert (found.repository, found.revision) == (None, REVISION)
    assert found.folder == "gpt-oss"


@pytest.mark.parametrize("name", ["snapshots/main", f"snapshots/{REVISION}"])
def test_a_folder_that_only_looks_like_the_cache(
    source: Path, tmp_path: Path, name: str
) -> None:
    """No repository is guessed."""
    shutil.copytree(source, tmp_path / name)
    found = provenance_of(open_checkpoint(tmp_path / name))

    assert (found.repository, found.revision) == (None, None)


def test_the_manifest_names_no_path(source: Path, tmp_path: Path) -> None:
    """A shared folder does not reveal the path of its source."""
    convert_checkpoint(source, tmp_path / "out")
    manifest = (tmp_path / "out" / "manifest.json").read_text()

    assert str(source.parent) not in manifest
    assert json.loads(manifest)["source"] == {
        "layout": "huggingface",
        "repository": None,
        "revision": None,
        "folder": "tiny",
    }
