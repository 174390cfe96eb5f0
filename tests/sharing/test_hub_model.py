"""Models on the Hub that run as they are: ours, and those of mlx-lm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from folders import digests
from killed import kill_at_random
from local_hub import COMMIT, LISTING, Answer, Asked, Hub
from small_conversion import convert
from tiny_checkpoint import write_split_folder, write_tiny_checkpoint

from gptoss_mlx.checkpoint.layout import Layout
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.errors import (
    DownloadError,
    GptOssError,
    ModelNotFoundError,
    NoSpaceError,
    UnsupportedModelError,
    VerifyError,
)
from gptoss_mlx.model_choice import open_model
from gptoss_mlx.sharing.cached_models import cached_models, find_cached, find_model
from gptoss_mlx.sharing.download import Step, in_silence
from gptoss_mlx.sharing.hub_edition import HubEdition, hub_edition
from gptoss_mlx.sharing.hub_model import HubModel, fetch_command, fetch_model
from gptoss_mlx.sharing.repository import Repository, parse_repository

REPO = "ada/tiny-q8"
ADA = Repository(REPO)
INDEX = "model.safetensors.index.json"
# What no model needs, and what a hostile one may have.
OTHERS = {
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "model.gguf": b"GGUF",
    "pytorch_model.bin": b"a pickle",
    "modeling_gpt_oss.py": b"import os",
    "original/model.safetensors": b"the same again",
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was converted on another machine. Not to be changed."""
    folder = tmp_path_factory.mktemp("converted")
    write_tiny_checkpoint(folder / "tiny")
    convert(folder / "tiny", folder / "tiny-q8")
    return folder / "tiny-q8"


@pytest.fixture(scope="module")
def edition(converted: Path) -> HubEdition:
    """What of it goes to the Hub."""
    return hub_edition(converted, REPO)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without models, which waits for nothing."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("gptoss_mlx.sharing.transfer.FIRST_PAUSE_S", 0.001)
    return tmp_path / "home"


@pytest.fixture
def ours(local_hub: Hub, edition: HubEdition) -> Hub:
    """A Hub with the model as ``share --hub`` has uploaded it, among other files."""
    for name, file in edition.files.items():
        content = file.content
        local_hub.files[name] = content if isinstance(content, bytes) else _read(content)
    local_hub.files.update(OTHERS)
    return local_hub


@pytest.fixture
def theirs(ours: Hub) -> Hub:
    """A Hub with the same weights in MLX's format, but without a manifest."""
    del ours.files["manifest.json"], ours.files["manifest.sha256"]
    return ours


def _read(path: Path) -> bytes:
    return path.read_bytes()


def download(
    hub: Hub,
    digest: str | None = None,
    said: list[str] | None = None,
    step: Step = in_silence,
) -> HubModel:
    """Fetch the model, as the command does."""
    lines = [] if said is None else said
    repository = Repository(REPO, digest)
    return fetch_model(repository, say=lines.append, step=step, endpoint=hub.address)


def weights(hub: Hub) -> list[str]:
    """The names of the weights' files."""
    return sorted(n for n in hub.files if n.endswith(".safetensors") and "/" not in n)


def fetched_weights(hub: Hub) -> set[str]:
    """The weights' files that were asked for to their ends: a header is a closed range."""
    names = weights(hub)
    return {
        asked.name
        for asked in hub.requests
        if asked.name in names and asked.headers.get("range", "-").endswith("-")
    }


def test_a_model_of_ours_is_downloaded_and_runs(
    ours: Hub, edition: HubEdition, converted: Path
) -> None:
    """By its name, without a second verification. Only what it needs was fetched."""
    said: list[str] = []
    steps: dict[str, list[tuple[int, int]]] = {}

    def step(task: str) -> nullcontext[Callable[[int, int], None]]:
        heard = steps.setdefault(task, [])
        return nullcontext(lambda done, total: heard.append((done, total)))

    model = download(ours, said=said, step=step)

    assert (model.digest, model.model_id) == (edition.digest, edition.model_id)
    assert {path.name for path in model.folder.iterdir()} == set(edition.files)
    assert set(ours.asked) == {LISTING, *edition.files}
    assert fetched_weights(ours) == set(weights(ours))
    for name in weights(ours):
        assert digests(model.folder)[name] == digests(converted)[name]
    assert list(steps) == ["Downloading", "Checking"]
    assert all(heard[-1][0] == heard[-1][1] > 0 for heard in steps.values())
    assert len(said) == 1
    assert said[0].startswith(f"Downloading {REPO}, ")

    said.clear()
    assert open_model(REPO, said.append).folder == model.folder
    assert said == [f"{REPO} is read from the Hugging Face cache: {model.folder}"]
    assert verify_checkpoint(model.folder).digest == edition.digest


def test_a_model_of_mlx_lm_is_downloaded_and_runs(theirs: Hub) -> None:
    """Its weights, settings and tokenizer. There is no digest, and nothing to verify."""
    model = download(theirs)
    said: list[str] = []

    assert (model.digest, model.model_id) == (None, None)
    assert {path.name for path in model.folder.iterdir()} == theirs.files.keys() - OTHERS
    assert open_model(REPO, said.append).folder == model.folder
    assert len(said) == 1


@pytest.mark.parametrize("bits", [8, 4])
def test_a_model_as_mlx_community_has_it(theirs: Hub, tmp_path: Path, bits: int) -> None:
    """Gate and up are split; here in one file without an index."""
    write_tiny_checkpoint(tmp_path / "tiny")
    write_split_folder(tmp_path / "tiny", tmp_path / "split", bits=bits)
    theirs.files.clear()
    for path in (tmp_path / "split").iterdir():
        theirs.files[path.name] = path.read_bytes()
    folder = download(theirs).folder

    assert (folder / "model.safetensors").is_file()
    assert open_model(REPO, lambda line: None).layout is Layout.MLX


def test_weights_that_the_index_does_not_name(theirs: Hub) -> None:
    """Are not fetched."""
    theirs.files["consolidated.safetensors"] = b"another model"
    download(theirs)

    assert "consolidated.safetensors" not in theirs.asked


def test_the_digest_that_was_told(ours: Hub, edition: HubEdition) -> None:
    """All of it or the half that the line has; the command that continues has it too."""
    for digest in (edition.digest, edition.digest[:32]):
        assert download(ours, digest).digest == edition.digest
    assert parse_repository(f"{REPO}@{edition.digest[:32]}") == Repository(
        REPO, edition.digest[:32]
    )
    assert fetch_command(Repository(REPO, "ab" * 16)) == (
        f"gptoss-mlx download {REPO}@{'ab' * 16}"
    )


def test_another_digest_is_refused(ours: Hub, edition: HubEdition) -> None:
    """Before any weight is fetched."""
    wrong = "0" * 32
    with pytest.raises(DownloadError) as caught:
        download(ours, wrong)

    assert str(caught.value) == (
        f"{REPO}'s manifest must have the digest {wrong} but has {edition.digest[:32]}."
    )
    assert not set(weights(ours)) & set(ours.asked)


def test_a_digest_of_a_model_without_a_manifest(theirs: Hub) -> None:
    """Nothing could be compared with it."""
    with pytest.raises(DownloadError, match=r"it has no manifest\.json"):
        download(theirs, "0" * 32)


def change_config(hub: Hub, **keys: object) -> None:
    """Change keys of config.json."""
    config = {**json.loads(bytes(hub.files["config.json"])), **keys}
    hub.files["config.json"] = json.dumps(config).encode()


def another_model(hub: Hub) -> None:
    """A repository of another architecture."""
    change_config(hub, model_type="llama")


def no_config(hub: Hub) -> None:
    """A data set, or a model for llama.cpp."""
    del hub.files["config.json"]


def wrong_config(hub: Hub) -> None:
    """Not JSON."""
    hub.files["config.json"] = b"<html>"


def large_config(hub: Hub) -> None:
    """More than any config.json."""
    hub.files["config.json"] = b" " * (9 << 20)


def no_weights(hub: Hub) -> None:
    """Only files that are not read."""
    for name in [INDEX, *weights(hub)]:
        del hub.files[name]


def one_file_less(hub: Hub) -> None:
    """An upload that was not finished."""
    del hub.files[weights(hub)[1]]


def wrong_index(hub: Hub) -> None:
    """Names a file outside."""
    hub.files[INDEX] = json.dumps({"weight_map": {"a": "../../secret"}}).encode()


def index_of_a_list(hub: Hub) -> None:
    """Has another form."""
    hub.files[INDEX] = b"[]"


def another_width(hub: Hub) -> None:
    """Its config.json does not describe its weights."""
    change_config(hub, hidden_size=128)


def no_header(hub: Hub) -> None:
    """A file that is no safetensors file."""
    hub.files[weights(hub)[0]] = b"\xff" * 100_000


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (another_model, UnsupportedModelError, "model_type must be 'gpt_oss' but is"),
        (no_config, DownloadError, "it has no config.json"),
        (
            wrong_config,
            DownloadError,
            "must be a gpt-oss model in MLX's format, but is not",
        ),
        (
            large_config,
            DownloadError,
            "must have at most 8,388,608 bytes but has 9,437,184",
        ),
        (no_weights, DownloadError, "it has no weights in safetensors files"),
        (one_file_less, DownloadError, "it lacks model-00002-of-0000"),
        (wrong_index, DownloadError, "it lacks ../../secret"),
        (index_of_a_list, DownloadError, "index.json has another form"),
        (another_width, DownloadError, f"{REPO} cannot be used: "),
        (no_header, DownloadError, "its header would have"),
    ],
)
def test_what_is_no_gpt_oss_model_is_refused(
    theirs: Hub,
    tmp_path: Path,
    change: Callable[[Hub], None],
    error: type[GptOssError],
    message: str,
) -> None:
    """Before any weight is fetched; nothing is left that would be taken for a model."""
    change(theirs)
    with pytest.raises(error) as caught:
        download(theirs)

    assert message in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.hint
    assert fetched_weights(theirs) == set()
    assert find_cached(REPO) is None


def another_listed_file(hub: Hub) -> None:
    """A file that the manifest lists was replaced."""
    hub.files["generation_config.json"] = b"{}"


def a_listed_file_less(hub: Hub) -> None:
    """A file that the manifest lists is missing."""
    del hub.files["LICENSE"]


def another_manifest(hub: Hub) -> None:
    """The manifest was replaced, its digest was not."""
    content = bytes(hub.files["manifest.json"])
    hub.files["manifest.json"] = content.replace(b'"q8"', b'"q6"')


def no_manifest(hub: Hub) -> None:
    """The manifest was removed, its digest was not."""
    del hub.files["manifest.json"]


def a_manifest_with_a_path(hub: Hub) -> None:
    """It lists a file outside."""
    content = bytes(hub.files["manifest.json"])
    hub.files["manifest.json"] = content.replace(b'"LICENSE"', b'"../LICENSE"')
    del hub.files["manifest.sha256"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (another_listed_file, "generation_config.json of ada/tiny-q8 must be as manifest"),
        (a_listed_file_less, "it lacks LICENSE"),
        (another_manifest, "manifest.sha256 is not that of manifest.json"),
        (no_manifest, "it has no manifest.json, which has the digest"),
        (a_manifest_with_a_path, "is not a manifest of gptoss-mlx convert"),
    ],
)
def test_a_repository_that_contradicts_its_manifest(
    ours: Hub, change: Callable[[Hub], None], message: str
) -> None:
    """Is refused before any weight is fetched."""
    change(ours)
    with pytest.raises(DownloadError, match=message):
        download(ours)
    assert not set(weights(ours)) & set(ours.asked)


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "generation_config.json"])
def test_a_small_file_that_is_not_as_listed(ours: Hub, name: str) -> None:
    """A changed bit on the way is found."""
    content = bytearray(ours.files[name])
    content[-3] ^= 1
    ours.lie = lambda asked: Answer(200, {}, bytes(content)) if asked.name == name else None
    with pytest.raises(DownloadError, match=f"{name} must be as {REPO} lists it"):
        download(ours)


def test_weights_that_are_not_as_listed(ours: Hub) -> None:
    """They are fetched twice, and refused."""
    name = weights(ours)[0]
    content = bytearray(ours.files[name])
    content[-3] ^= 1
    ours.lie = lambda asked: (
        Answer(200, {}, bytes(content)) if asked.name == name and not asked.start else None
    )
    with pytest.raises(DownloadError, match=f"{name} must be as {REPO}"):
        download(ours)
    assert find_cached(REPO) is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(404), "must be a model on the Hub, but 127.0.0.1 answers with status 404"),
        (Answer(401, {"X-Error-Message": "No."}), "answers with status 401: No."),
        (Answer(200, {}, b"<html>"), "its list of files has another form"),
        (Answer(200, {}, b"[]"), "its list of files has another form"),
        (Answer(200, {}, b'{"sha": "../..", "siblings": []}'), "has another form"),
        (Answer(200, {}, b'{"sha": 1, "siblings": []}'), "has another form"),
        (
            Answer(200, {}, json.dumps({"sha": COMMIT, "siblings": [{}]}).encode()),
            "has another form",
        ),
        (Answer(200, {}, b" " * (9 << 20)), "has another form"),
        (Answer(503), "must be reachable on the Hub but is not: the Hub answers with"),
    ],
)
def test_what_the_hub_lists(ours: Hub, answer: Answer, message: str) -> None:
    """Another form, or no repository of that name: a named error."""
    ours.lie = lambda asked: answer if asked.name == LISTING else None
    with pytest.raises(DownloadError) as caught:
        download(ours)

    assert message in str(caught.value)
    assert ours.asked == [LISTING] * len(ours.asked)


def test_names_with_a_path_in_the_list(ours: Hub, tmp_path: Path) -> None:
    """They are left out, wherever they lead."""
    listing = ours.listing()
    listing["siblings"] += [
        {**listing["siblings"][0], "rfilename": name}
        for name in ("../../../../secret", "/tmp/secret", "a/b.safetensors", "")  # noqa: S108
    ]
    ours.lie = lambda asked: (
        Answer(200, {}, json.dumps(listing).encode()) if asked.name == LISTING else None
    )
    download(ours)

    assert not list(tmp_path.rglob("secret"))


def test_an_interrupted_download_continues(ours: Hub) -> None:
    """What is there is not fetched again; a file continues at its byte."""
    names = weights(ours)

    def failing(asked: Asked) -> Answer | None:
        if asked.name != names[1] or ("range" in asked.headers and not asked.start):
            return None
        content = bytes(ours.files[names[1]])
        headers = {"Content-Length": str(len(content))}
        return Answer(200, headers, content[:200_000]) if not asked.start else Answer(403)

    ours.lie = failing
    with pytest.raises(DownloadError):
        download(ours)
    assert refused_by_name()
    ours.lie = lambda asked: None
    ours.requests.clear()
    said: list[str] = []
    model = download(ours, said=said)
    starts = {asked.name: asked.start for asked in ours.requests if asked.start}

    assert starts[names[1]] == 200_000
    assert ", of which " in said[0]
    assert open_model(REPO, said.append).folder == model.folder


def refused_by_name() -> bool:
    """Whether the model cannot be opened, and the hint is its download."""
    with pytest.raises(ModelNotFoundError) as caught:
        open_model(REPO, lambda line: None)
    return caught.value.hint == f"If it is on the Hub: gptoss-mlx download {REPO}"


def test_a_second_download_fetches_no_weights(ours: Hub) -> None:
    """It asks what there is, and checks what is here."""
    first = download(ours)
    ours.requests.clear()
    said: list[str] = []

    assert download(ours, said=said) == first
    assert not set(weights(ours)) & set(ours.asked)
    assert said == []


def test_a_damaged_file_is_fetched_again(ours: Hub) -> None:
    """Of a model that was here."""
    folder = download(ours).folder
    path = (folder / weights(ours)[0]).resolve()
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    said: list[str] = []
    download(ours, said=said)

    assert said[0].endswith("not as released. Downloading again from byte 0.")
    verify_checkpoint(folder)


def test_a_disk_that_is_too_small(ours: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is found before any weight is fetched."""
    space = type("Space", (), {"free": 100_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: space)
    with pytest.raises(NoSpaceError):
        download(ours)
    assert fetched_weights(ours) == set()


def test_other_programs_find_the_model(ours: Hub) -> None:
    """As the newest revision: offline, as mlx-lm asks for it."""
    from huggingface_hub import snapshot_download

    folder = download(ours).folder
    found = snapshot_download(
        REPO, local_files_only=True, cache_dir=folder.parents[2].as_posix()
    )

    assert Path(found) == folder


def in_cache(files: Hub, tmp_path: Path, commit: str = COMMIT) -> Path:
    """Put the model into the cache as another program does."""
    folder = tmp_path / "cache" / "models--ada--tiny-q8" / "snapshots" / commit
    folder.mkdir(parents=True)
    for name, content in files.files.items():
        if "/" not in name:
            (folder / name).write_bytes(bytes(content))
    return folder


def test_a_model_that_another_program_has_downloaded(
    ours: Hub, edition: HubEdition, tmp_path: Path
) -> None:
    """It is verified once, under its repository's name. OTHERS are no part of it."""
    for name in OTHERS:
        del ours.files[name]
    folder = in_cache(ours, tmp_path)
    said: list[str] = []

    assert open_model(REPO, said.append).folder == folder
    assert said[1].startswith("Verifying tiny-q8 (")
    assert said[2] == f"Verified {edition.model_id}: every byte is as the manifest says."
    said.clear()
    open_model(REPO, said.append)
    assert len(said) == 1
    name = weights(ours)[0]
    (folder / name).write_bytes((folder / name).read_bytes()[:-1] + b"?")
    with pytest.raises(VerifyError, match=name):
        open_model(REPO, said.append)


@pytest.mark.parametrize("missing", ["config.json", "model-00002-of-00003.safetensors"])
def test_a_download_that_is_not_whole(theirs: Hub, tmp_path: Path, missing: str) -> None:
    """Is no model; an older whole revision is."""
    folder = in_cache(theirs, tmp_path)
    (folder / missing).unlink()

    assert find_cached(REPO) is None
    assert cached_models() == []
    assert refused_by_name()
    older = in_cache(theirs, tmp_path, "1" * 40)
    assert find_cached(REPO) == older == find_model(REPO)


def test_the_newest_revision_is_opened(theirs: Hub, tmp_path: Path) -> None:
    """The one that the branch has, whatever was downloaded last."""
    older = in_cache(theirs, tmp_path, "1" * 40)
    newest = in_cache(theirs, tmp_path, "2" * 40)
    refs = older.parents[1] / "refs"
    refs.mkdir()
    for folder in (older, newest):
        (refs / "main").write_text(folder.name)
        assert find_cached(REPO) == folder


def test_the_models_of_the_cache(theirs: Hub, tmp_path: Path) -> None:
    """Those of gpt-oss that can be opened; other models are left out."""
    folder = in_cache(theirs, tmp_path)
    for name in ("models--openai--gpt-oss-20b", "models--meta--llama", "datasets--a--b"):
        other = tmp_path / "cache" / name / "snapshots" / COMMIT
        other.mkdir(parents=True)
        (other / "config.json").write_text('{"model_type": "llama"}')
        (other / "model.safetensors").touch()
    (model,) = cached_models()

    assert (model.name, model.path, model.layers) == (REPO, folder, 4)
    assert model.ready


@pytest.mark.parametrize(
    "text",
    ["20b", "a/b/c", "a/../b", "../b", "a/b--c", "a/.b", "./a", "a/b@main", "/a", "a/", ""],
)
def test_what_is_no_name_of_a_repository(text: str) -> None:
    """A path, a released model, or something else."""
    assert parse_repository(text) is None
    assert find_cached(text) is None


def test_a_download_that_is_killed_at_any_moment(
    ours: Hub, tmp_path: Path, home: Path, converted: Path
) -> None:
    """What there is then is no model, or the whole one; the next run ends it."""
    ours.rate = 2e6
    cache = tmp_path / "cache"
    stopped: list[bool] = []

    def run_again() -> bool:
        found = find_cached(REPO)
        stopped.append(found is None)
        if found is not None:
            open_model(found, lambda line: None)
        folder = download(ours).folder
        assert verify_checkpoint(folder).nbytes
        assert {n: digests(folder)[n] for n in weights(ours)} == {
            n: digests(converted)[n] for n in weights(ours)
        }
        assert not list(cache.rglob("*.incomplete"))
        shutil.rmtree(cache)
        shutil.rmtree(home)
        return True

    killed = kill_at_random(
        "import os\n"
        f"os.environ.update(HF_HUB_CACHE={str(cache)!r}, GPTOSS_MLX_HOME={str(home)!r})\n"
        "import huggingface_hub.utils\n"
        "from gptoss_mlx.sharing.hub_model import fetch_model\n"
        "from gptoss_mlx.sharing.repository import Repository",
        f"fetch_model(Repository({REPO!r}), endpoint={ours.address!r})",
        times=6,
        then=run_again,
        seed=0,
    )

    assert killed == 6
    assert any(stopped)
