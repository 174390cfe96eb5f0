from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

import gptoss_mlx
from gptoss_mlx.convert import first_load
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.errors import UnfinishedError, VerifyError
from gptoss_mlx.manifest import MANIFEST
from gptoss_mlx.manifest_digest import MANIFEST_SHA256, digest_of
from gptoss_mlx.model_choice import open_model
from gptoss_mlx.sharing.disk import copy_to_disk

WEIGHTS = "model-00001-of-00001.safetensors"

# Loads nothing of a verified folder, and prints whether MLX was.
PROGRAM = """
import sys
from pathlib import Path
from gptoss_mlx.convert.first_load import verify_before_load

verify_before_load(Path(sys.argv[1]), print)
print("mlx.core" in sys.modules)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's home, in which nothing is recorded."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def bought(exact: Path, tmp_path: Path) -> Path:
    """A folder that was converted on another machine, and copied."""
    return Path(shutil.copytree(exact, tmp_path / "disk" / "tiny-exact"))


def said_at_load(folder: Path | str) -> list[str]:
    """Open a model, and return what is said."""
    said: list[str] = []
    open_model(folder, said.append)
    return said


def flip_bit(path: Path, at: int) -> None:
    """Change one bit of a file, counted in bytes from its end if negative."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def test_a_bought_folder_is_verified_once(bought: Path) -> None:
    """A line before and one after, with the line that names the model; then no more."""
    nbytes = sum(path.stat().st_size for path in bought.iterdir())
    model_id = f"tiny-exact@{digest_of(bought)[:32]}"
    first, second = said_at_load(bought), said_at_load(bought)

    assert first[1:] == [f"Verified {model_id}: every byte is as the manifest says."]
    assert first[0].startswith("Verifying tiny-exact (")
    assert first[0].endswith(" MB) before its first load.")
    assert float(first[0].split("(")[1].split()[0]) == pytest.approx(nbytes / 1e6, abs=0.1)
    assert second == []


def test_what_is_known_is_asked_for_without_mlx(bought: Path) -> None:
    """Nor is anything said."""
    said_at_load(bought)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(bought)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", MANIFEST, MANIFEST_SHA256])
@pytest.mark.parametrize("at", [40, -2])
def test_a_flipped_bit_is_refused(bought: Path, name: str, at: int) -> None:
    """The file is named, each time; the hint is for a folder from elsewhere."""
    name = next(bought.glob("*.safetensors")).name if name == WEIGHTS else name
    flip_bit(bought / name, at)

    for load in (gptoss_mlx.load, gptoss_mlx.load_model, gptoss_mlx.load_model):
        with pytest.raises(VerifyError, match=name) as caught:
            load(bought)
    assert caught.value.hint == first_load.HINT


def test_a_flipped_bit_ends_the_command(bought: Path) -> None:
    """``ask`` exits with 1 and answers nothing."""
    flip_bit(next(bought.glob("*.safetensors")), -2)
    done = subprocess.run(
        [sys.executable, "-m", "gptoss_mlx", "ask", "-m", str(bought), "Why?"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert "before its first load." in done.stderr
    assert "must have the sha256" in done.stderr


def test_a_file_that_has_changed_is_verified_again(bought: Path) -> None:
    """A new copy of a file that was verified; and a damaged one is found."""
    said_at_load(bought)
    weights = next(bought.glob("*.safetensors"))
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content)

    assert len(said_at_load(bought)) == 2
    assert said_at_load(bought) == []
    flip_bit(weights, -2)
    with pytest.raises(VerifyError, match=weights.name):
        said_at_load(bought)


def test_a_change_with_the_old_time(bought: Path) -> None:
    """The time of a file's writing can be set back: that is noticed too."""
    said_at_load(bought)
    weights = next(bought.glob("*.safetensors"))
    before = weights.stat()
    with weights.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\xff")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert weights.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(VerifyError, match=weights.name):
        said_at_load(bought)


def test_a_renamed_folder_stays_verified(bought: Path) -> None:
    """Its files are the same. A copy is another one."""
    said_at_load(bought)
    renamed = bought.rename(bought.with_name("mine"))

    assert said_at_load(renamed) == []
    assert len(said_at_load(shutil.copytree(renamed, bought.with_name("copy")))) == 2


def test_a_folder_that_verify_has_passed(bought: Path) -> None:
    """Is not verified again."""
    verify_checkpoint(bought)

    assert said_at_load(bought) == []


def test_what_is_converted_here_is_not_verified(tmp_path: Path, home: Path) -> None:
    """Nor its copy by ``share --to``, which was read back."""
    write_tiny_checkpoint(tmp_path / "tiny")
    convert_checkpoint(tmp_path / "tiny", home / "models" / "tiny-q8")
    copied = copy_to_disk(home / "models" / "tiny-q8", tmp_path)

    assert said_at_load("tiny-q8") == []
    assert said_at_load(copied.folder) == []


def test_the_demo_model_is_not_verified(home: Path) -> None:
    """It is made here, and is opened by its path as well."""
    demo = open_demo(lambda text: None).folder

    assert said_at_load("demo") == []
    assert said_at_load(demo) == []


def test_a_folder_without_a_manifest(source: Path, bought: Path) -> None:
    """A release, or what mlx-lm has converted: nothing to compare it with."""
    (bought / MANIFEST).unlink()
    (bought / MANIFEST_SHA256).unlink()

    assert said_at_load(source) == []
    assert said_at_load(bought) == []


def test_a_folder_that_has_lost_its_manifest(bought: Path) -> None:
    """Its digest is there, so it is refused."""
    (bought / MANIFEST).unlink()

    with pytest.raises(VerifyError, match=f"must have a {MANIFEST}"):
        said_at_load(bought)


def test_a_folder_of_the_first_format(bought: Path) -> None:
    """It has no digest, and is verified once as well."""
    path = bought / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
    (bought / MANIFEST_SHA256).unlink()
    first = said_at_load(bought)

    assert first[1] == "Verified tiny-exact: every byte is as the manifest says."
    assert said_at_load(bought) == []


def test_an_unfinished_folder(bought: Path) -> None:
    """It is not verified, but refused as what it is."""
    with pytest.raises(UnfinishedError):
        said_at_load(bought.rename(bought.with_name("tiny-exact.partial")))


@pytest.mark.parametrize("place", ["verified", "home"])
def test_records_that_cannot_be_written(bought: Path, home: Path, place: str) -> None:
    """It is verified each time, which is said; the model loads all the same."""
    home.mkdir()
    if place == "verified":
        (home / "verified").touch()
    else:
        home.rmdir()
        home.touch()

    for _ in range(2):
        said = said_at_load(bought)
        assert len(said) == 2
        assert said[1].endswith(", which cannot be recorded: it is verified each time.")


def test_a_folder_has_one_record(bought: Path, home: Path) -> None:
    """That of an earlier state goes; other folders' stay."""
    other = shutil.copytree(bought, bought.with_name("other"))
    said_at_load(other)
    for _ in range(3):
        (bought / "config.json").touch()
        said_at_load(bought)

    assert len(list((home / "verified").iterdir())) == 2
    assert said_at_load(other) == []


def test_a_long_verification_tells_how_far_it_is(
    bought: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every ten seconds; here every time."""
    monkeypatch.setattr(first_load, "LINE_S", -1.0)
    said = said_at_load(bought)

    assert len(said) > 3
    assert said[1].startswith("Verifying tiny-exact: 0.0 MB of ")
