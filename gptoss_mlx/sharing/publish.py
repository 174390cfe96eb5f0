"""Uploads a converted folder to a repository on the Hugging Face Hub.

Large files are uploaded one after another, and become visible with one commit at the end:
nobody ever sees half a model. What the Hub has already is not sent again.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gptoss_mlx.errors import GptOssError, ShareError, VerifyError
from gptoss_mlx.files import read_file
from gptoss_mlx.macos import awake
from gptoss_mlx.sharing.download import Step, in_silence
from gptoss_mlx.sharing.hub import hub_cache_root
from gptoss_mlx.sharing.hub_edition import EditionFile, HubEdition, hub_edition
from gptoss_mlx.sharing.hub_settings import reason_text
from gptoss_mlx.sharing.read_back import hash_from_disk

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.hf_api import RepoSibling

__all__ = ["LARGE_BYTES", "Upload", "plan_upload"]

LARGE_BYTES = 1 << 20
# The Hub takes no larger ones into Git itself.
MAX_BLOB_BYTES = 64 << 20

LOGIN_HINT = (
    "Log in with a token that may write: hf auth login "
    "(tokens: https://huggingface.co/settings/tokens)"
)


@dataclass(frozen=True, slots=True)
class Upload:
    """What an upload would change.

    Attributes:
        repository: ``USER/REPO``.
        url: Its address.
        edition: All files that the repository will have.
        missing: The names of those that it has not.
        outdated: The names of weights there that are no part of the edition, and are
            removed: mlx-lm would load them.
        is_new: Whether the repository must be made.
        private: Whether only its owner can see it.
    """

    repository: str
    url: str
    edition: HubEdition
    missing: tuple[str, ...]
    outdated: tuple[str, ...]
    is_new: bool
    private: bool

    @property
    def nbytes(self) -> int:
        """Bytes of the missing files."""
        return sum(self.edition.files[name].nbytes for name in self.missing)

    def run(
        self,
        *,
        again: str,
        say: Callable[[str], None] = lambda line: None,
        step: Step = in_silence,
    ) -> str:
        """Upload the missing files, and compare what the Hub has then.

        After an interruption, a new plan continues.

        Args:
            again: The command that continues.
            say: Called with a line about each action.
            step: Shows the progress.

        Returns:
            The commit's id.

        Raises:
            VerifyError: A file differs from the manifest. Nothing is uploaded then.
            ShareError: The Hub refuses, or cannot be reached.
            StorageError: A file cannot be read.
        """
        self._check_files(step)
        with awake(), _hub_errors(self.repository, again):
            api = _api()
            if self.is_new:
                api.create_repo(self.repository, private=self.private, exist_ok=True)
            operations = [self._operation(name) for name in self.missing]
            with step("Uploading") as progress:
                done = 0
                for operation in operations:
                    nbytes = operation.upload_info.size
                    # The others go with the commit.
                    if nbytes >= LARGE_BYTES:
                        say(f"Uploading {operation.path_in_repo}")
                        api.preupload_lfs_files(
                            self.repository, [operation], num_threads=1, free_memory=False
                        )
                    done += nbytes
                    progress(done, self.nbytes)
                commit = self._commit(api, operations)
            self._check_repository(api)
        return commit

    def _check_files(self, step: Step) -> None:
        """Compare the files that will be sent with the manifest."""
        files = [self.edition.files[name] for name in self.missing]
        paths = [(f.content, f) for f in files if isinstance(f.content, Path)]
        total, done = sum(file.nbytes for _, file in paths), 0
        with step("Checking") as progress:

            def hear(nbytes: int) -> None:
                nonlocal done
                done += nbytes
                progress(min(done, total), total)

            for path, file in paths:
                found = hash_from_disk(path, hear)
                if found != file.sha256:
                    raise VerifyError(
                        f"{path}: must have the sha256 {file.sha256} but has {found}.",
                        hint=f"See what differs: gptoss-mlx verify {path.parent}",
                    )

    def _operation(self, name: str) -> CommitOperationAdd:
        from huggingface_hub import CommitOperationAdd

        file = self.edition.files[name]
        operation = CommitOperationAdd(name, file.content)
        # It was just compared with the file; otherwise it would be computed again.
        operation.upload_info.sha256 = bytes.fromhex(file.sha256)
        return operation

    def _commit(self, api: HfApi, operations: list[CommitOperationAdd]) -> str:
        from huggingface_hub import CommitOperationDelete

        gone = [CommitOperationDelete(name, is_folder=False) for name in self.outdated]
        info = api.create_commit(
            self.repository,
            [*operations, *gone],
            commit_message=f"Upload {self.edition.model_id} with gptoss-mlx",
        )
        return str(info.oid)

    def _check_repository(self, api: HfApi) -> None:
        """Compare what the Hub has with what it should have."""
        info = api.model_info(self.repository, files_metadata=True)
        there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        wrong = [
            name
            for name, file in self.edition.files.items()
            if not _is_there(file, there.get(name))
        ]
        if wrong:
            raise ShareError(
                f"{self.repository} must have {wrong[0]} as it was sent, but has not.",
                hint=f"If its .gitignore leaves the file out, correct it: {self.url}",
            )


def plan_upload(folder: Path, repository: str, *, private: bool = False) -> Upload:
    """Ask the Hub what a repository has; nothing is changed or sent.

    Args:
        folder: A converted folder.
        repository: ``USER/REPO``, which need not exist.
        private: Whether only its owner may see it.

    Raises:
        ShareError: The name is not one, nobody is logged in, the repository is public
            although ``private``, or the Hub cannot be reached.
        VerifyError: The folder has no manifest, or differs from it in a length.
        ConfigError: config.json is invalid.
        StorageError: A file cannot be read.
    """
    hub_cache_root()
    _check_name(repository)
    edition = hub_edition(folder, repository)
    with _hub_errors(repository, None):
        from huggingface_hub.errors import RepositoryNotFoundError

        api = _api()
        url = f"{api.endpoint}/{repository}"
        try:
            info = api.model_info(repository, files_metadata=True)
        except RepositoryNotFoundError:
            names = tuple(edition.files)
            return Upload(repository, url, edition, names, (), True, private)
    if private and not info.private:
        raise ShareError(
            f"{repository} must be private but is public already.",
            hint=f"Make it private, {url}/settings, or leave out --private.",
        )
    there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    missing = tuple(n for n, f in edition.files.items() if not _is_there(f, there.get(n)))
    outdated = _outdated(there, edition.files)
    return Upload(repository, url, edition, missing, outdated, False, bool(info.private))


def _outdated(there: Collection[str], wanted: Collection[str]) -> tuple[str, ...]:
    suffixes = (".safetensors", ".safetensors.index.json")
    return tuple(
        sorted(
            name
            for name in there
            if name.endswith(suffixes) and "/" not in name and name not in wanted
        )
    )


def _is_there(file: EditionFile, sibling: RepoSibling | None) -> bool:
    """Whether a file of the Hub has these bytes."""
    if sibling is None or sibling.size != file.nbytes:
        return False
    if sibling.lfs is not None:
        return bool(sibling.lfs.sha256 == file.sha256)
    content = file.content
    if isinstance(content, Path):
        if file.nbytes > MAX_BLOB_BYTES:
            return False  # such a file is never a Git blob
        content = read_file(content, max_bytes=MAX_BLOB_BYTES)
    head = f"blob {len(content)}\0".encode()
    # Git names a blob by its sha1; this is no protection against forgery.
    blob = hashlib.sha1(head + content, usedforsecurity=False).hexdigest()
    return bool(blob == sibling.blob_id)


def _api() -> HfApi:
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if token is None:
        raise ShareError(
            "An upload needs a token of the Hugging Face Hub, but nobody is logged in.",
            hint=LOGIN_HINT,
        )
    return HfApi(token=token)


def _check_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ShareError(
            f"{repository!r} must be USER/REPO: {reason_text(error)}.",
            hint="Name it like ada/gpt-oss-20b-q8.",
        ) from error
    if repository.count("/") != 1:
        raise ShareError(
            f"{repository!r} must be USER/REPO.", hint=f"Add your name: USER/{repository}"
        )


@contextmanager
def _hub_errors(repository: str, again: str | None) -> Iterator[None]:
    """Raise what huggingface_hub raises as a ShareError."""
    hint = "Check the network, then run the same command again."
    if again is not None:
        hint = f"What the Hub has is not sent again: {again}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the Hub's advice about the card
            yield
    except GptOssError:
        raise
    except Exception as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else None
        status = getattr(getattr(cause or error, "response", None), "status_code", None)
        refused = status in (401, 403)
        what = "the upload stopped" if again is not None else "the Hub cannot be asked"
        raise ShareError(
            f"{repository}: {what if status is None else 'the Hub refuses'}: "
            f"{reason_text(cause or error)}.",
            hint=LOGIN_HINT if refused else hint,
        ) from error
