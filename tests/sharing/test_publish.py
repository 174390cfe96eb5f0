"""The real huggingface_hub client uploads to a stand-in for the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import upload_hub
from folders import digests
from program import run_here
from small_conversion import convert
from tiny_checkpoint import write_tiny_checkpoint
from upload_hub import UploadHub, serve_uploads

from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.errors import ShareError, VerifyError
from gptoss_mlx.manifest_digest import digest_of
from gptoss_mlx.sharing import publish
from gptoss_mlx.sharing.hub import hub_cache_root
from gptoss_mlx.sharing.publish import plan_upload

REPO = "ada/tiny-q8"
AGAIN = "gptoss-mlx share tiny-q8 --hub ada/tiny-q8"


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted folder."""
    folder = tmp_path_factory.mktemp("published")
    write_tiny_checkpoint(folder / "tiny")
    convert(folder / "tiny", folder / "tiny-q8")
    return folder / "tiny-q8"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    """A Hub on which somebody is logged in, and which takes large files by LFS."""
    hub_cache_root()
    monkeypatch.setenv("HF_TOKEN", upload_hub.TOKEN)
    monkeypatch.setattr(publish, "LARGE_BYTES", 100_000)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with serve_uploads() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        yield hub


def large(folder: Path) -> int:
    """Bytes of the files that go by LFS."""
    return sum(
        path.stat().st_size
        for path in folder.iterdir()
        if path.name.endswith(upload_hub.LFS_SUFFIXES)
    )


def downloaded(hub: UploadHub, folder: Path) -> Path:
    """Write a repository as ``hf download`` does."""
    folder.mkdir()
    for name, data in hub.repos[REPO].items():
        (folder / name).write_bytes(data)
    return folder


def test_a_new_repository_gets_the_listed_files_a_card_and_a_manifest(
    converted: Path, hub: UploadHub, tmp_path: Path
) -> None:
    """Nothing else; a download verifies with the digest that the card names."""
    (converted / "notes.txt").write_text("mine")
    try:
        upload = plan_upload(converted, REPO)
    finally:
        (converted / "notes.txt").unlink()
    assert upload.is_new
    upload.run(again=AGAIN)

    files = hub.repos[REPO]
    card = files["README.md"].decode()
    folder = downloaded(hub, tmp_path / "tiny-q8")
    report = verify_checkpoint(folder)
    same = digests(converted).keys() - {"README.md", "manifest.json", "manifest.sha256"}

    assert {n for n in files if not n.startswith(".")} == set(upload.edition.files)
    assert "notes.txt" not in files
    assert {n: digests(folder)[n] for n in same} == {n: digests(converted)[n] for n in same}
    assert report.digest == upload.edition.digest == digest_of(folder)
    assert upload.edition.model_id in card
    assert "license: apache-2.0" in card
    assert "Recipe `q8`: attention, embedding and lm_head in 8 bits" in card
    assert f"mlx_lm.chat --model {REPO}" in card
    assert "rounds the ends of YaRN's" in card
    assert f"gptoss-mlx download {REPO}\ngptoss-mlx chat {REPO}\n" in card
    assert "| experts | " in card
    assert REPO not in hub.private
    assert len(hub.commits) == 1


def test_a_second_upload_sends_nothing(converted: Path, hub: UploadHub) -> None:
    """And makes no commit."""
    plan_upload(converted, REPO).run(again=AGAIN)
    sent = list(hub.puts)

    again = plan_upload(converted, REPO)

    assert (again.missing, again.outdated, again.is_new) == ((), (), False)
    assert hub.puts == sent


def test_only_what_has_changed_is_sent(converted: Path, hub: UploadHub) -> None:
    """A file that somebody has edited there is put right, and no weight is sent."""
    plan_upload(converted, REPO).run(again=AGAIN)
    sent = list(hub.puts)
    hub.repos[REPO]["README.md"] = b"another card"

    upload = plan_upload(converted, REPO)
    upload.run(again=AGAIN)

    assert upload.missing == ("README.md",)
    assert hub.commits[-1] == ["README.md"]
    assert hub.puts == sent
    assert plan_upload(converted, REPO).missing == ()


def test_a_cut_connection_is_tried_again(converted: Path, hub: UploadHub) -> None:
    """The files are right in the end."""
    hub.cut_after, hub.cuts = 50_000, 2

    plan_upload(converted, REPO).run(again=AGAIN)

    assert hub.cuts == 0
    assert plan_upload(converted, REPO).missing == ()


def test_a_connection_that_is_always_cut(converted: Path, hub: UploadHub) -> None:
    """It is said, nothing is visible, and what has arrived is not sent again."""
    whole = 2
    hub.cut_after, hub.cuts = 50_000, 0
    upload = plan_upload(converted, REPO)
    arrived = 0

    @contextmanager
    def step(task: str) -> Iterator[object]:
        def progress(done: int, total: int) -> None:
            nonlocal arrived
            arrived = len(hub.objects)
            hub.cuts = 1000 if arrived >= whole else 0

        yield progress

    with pytest.raises(ShareError, match="the upload stopped") as error:
        upload.run(again=AGAIN, step=step)  # type: ignore[arg-type]

    assert error.value.hint == f"What the Hub has is not sent again: {AGAIN}"
    assert hub.repos[REPO].keys() == {".gitattributes"}
    hub.cuts = 0
    hub.puts.clear()
    kept = sum(map(len, hub.objects.values()))
    plan_upload(converted, REPO).run(again=AGAIN)

    assert arrived == whole
    assert sum(hub.puts) == large(converted) - kept
    assert plan_upload(converted, REPO).missing == ()


def test_weights_of_another_recipe_are_removed(converted: Path, hub: UploadHub) -> None:
    """mlx-lm would load them; other files stay."""
    plan_upload(converted, REPO).run(again=AGAIN)
    hub.repos[REPO]["model-00009-of-00009.safetensors"] = b"old"
    hub.repos[REPO]["logo.png"] = b"mine"

    upload = plan_upload(converted, REPO)
    upload.run(again=AGAIN)

    assert upload.outdated == ("model-00009-of-00009.safetensors",)
    assert "logo.png" in hub.repos[REPO]
    assert "model-00009-of-00009.safetensors" not in hub.repos[REPO]


def test_a_chat_template_is_added_if_there_is_none(converted: Path, hub: UploadHub) -> None:
    """If there is a tokenizer; it is listed in the manifest."""
    edition = plan_upload(converted, REPO).edition
    listed = json.loads(content_of(edition.files["manifest.json"].content))["files"]

    assert ("tokenizer.json" in listed) == ("chat_template.jinja" in listed)
    assert "README.md" not in listed


def content_of(content: Path | bytes) -> bytes:
    """Read a file of an edition."""
    return content if isinstance(content, bytes) else content.read_bytes()


def test_a_damaged_model_is_not_uploaded(
    converted: Path, hub: UploadHub, tmp_path: Path
) -> None:
    """Nothing is sent, and no repository made."""
    folder = tmp_path / "tiny-q8"
    folder.mkdir()
    for path in converted.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    path = max(folder.glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(VerifyError, match=path.name):
        plan_upload(folder, REPO).run(again=AGAIN)

    assert (hub.repos, hub.puts) == ({}, [])


def test_a_link_in_the_folder_is_not_published(
    converted: Path, hub: UploadHub, tmp_path: Path
) -> None:
    """It may lead to a file from elsewhere."""
    folder = tmp_path / "tiny-q8"
    folder.mkdir()
    for path in converted.iterdir():
        (folder / path.name).symlink_to(path)

    with pytest.raises(VerifyError, match="is no file"):
        plan_upload(folder, REPO)


def test_a_private_repository(converted: Path, hub: UploadHub) -> None:
    """A public one does not become private by itself."""
    plan_upload(converted, REPO, private=True).run(again=AGAIN)
    assert hub.private == {REPO}
    assert plan_upload(converted, REPO).private

    hub.private.clear()
    with pytest.raises(ShareError, match="must be private but is public already"):
        plan_upload(converted, REPO, private=True)


def test_a_hub_that_leaves_a_file_out(converted: Path, hub: UploadHub) -> None:
    """It is noticed, and so is one that stores another."""
    hub.ignored = {"generation_config.json"}
    with pytest.raises(ShareError, match=r"generation_config\.json as it was sent"):
        plan_upload(converted, REPO).run(again=AGAIN)

    hub.ignored = set()
    hub.damage = lambda files: files.update({"LICENSE": b"?"})
    with pytest.raises(ShareError, match="LICENSE as it was sent"):
        plan_upload(converted, REPO).run(again=AGAIN)


def test_nobody_is_logged_in(
    converted: Path, hub: UploadHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The hint is the command for it."""
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no"))

    with pytest.raises(ShareError, match="nobody is logged in") as error:
        plan_upload(converted, REPO)

    assert "hf auth login" in error.value.hint


def test_a_hub_that_cannot_be_reached(
    converted: Path, hub: UploadHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's reason is told, in one line."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(ShareError, match="the Hub cannot be asked: ") as error:
        plan_upload(converted, REPO)

    assert "Check the network" in error.value.hint


def test_a_token_that_may_not_write(converted: Path, hub: UploadHub) -> None:
    """The hint is the same."""
    upload = plan_upload(converted, REPO)
    hub.allowed = False

    with pytest.raises(ShareError, match="the Hub refuses") as error:
        upload.run(again=AGAIN)

    assert "hf auth login" in error.value.hint


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "a b/c", "", "ada/..", "ada/--x"])
def test_a_name_that_is_no_repository(converted: Path, hub: UploadHub, name: str) -> None:
    """It is refused before anything is asked of the Hub."""
    with pytest.raises(ShareError, match="must be USER/REPO"):
        plan_upload(converted, name)


def test_the_command_uploads_and_prints_the_address(
    converted: Path, hub: UploadHub
) -> None:
    """It names what will be public; a second time it says that it is there."""
    first = run_here("share", str(converted), "--hub", REPO, "-y")
    second = run_here("share", str(converted), "--hub", REPO)

    assert (first.returncode, first.stdout) == (0, f"{hub.address}/{REPO}\n")
    assert "  model-00001-of-00003.safetensors, 0.4 MB\n" in first.stderr
    assert "  LICENSE, config.json, generation_config.json, " in first.stderr
    assert "Uploaded: tiny-q8@" in first.stderr
    assert (second.returncode, second.stdout) == (0, f"{hub.address}/{REPO}\n")
    assert "Already there: tiny-q8@" in second.stderr


def test_the_command_asks_before_anything_is_public(
    converted: Path, hub: UploadHub
) -> None:
    """Where nobody can be asked, nothing is uploaded."""
    done = run_here("share", str(converted), "--hub", REPO)

    assert done.returncode == 1
    assert "Nothing is uploaded without confirmation." in done.stderr
    assert f"--hub {REPO} --yes" in done.stderr
    assert (hub.repos, hub.puts) == ({}, [])


@pytest.mark.parametrize(
    "options",
    [
        ["--hub", REPO, "--to", "x"],
        ["--hub", REPO, "--port", "1"],
        ["--private"],
        ["-y"],
    ],
)
def test_options_of_two_ways_to_share(converted: Path, options: list[str]) -> None:
    """They are mistakes in the command."""
    assert run_here("share", str(converted), *options).returncode == 2


def test_ctrl_c_tells_how_to_continue(
    converted: Path, hub: UploadHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is visible; the same command sends the rest."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.HfApi.create_commit", interrupted)
        done = run_here("share", str(converted), "--hub", REPO, "-y")
    assert hub.repos[REPO].keys() == {".gitattributes"}
    sent = list(hub.puts)
    run_here("share", str(converted), "--hub", REPO, "-y")

    assert done.returncode == 130
    assert done.stderr.endswith(
        f"Stopped. To continue: gptoss-mlx share {converted} --hub {REPO}\n"
    )
    assert hub.puts == sent
    assert plan_upload(converted, REPO).missing == ()
