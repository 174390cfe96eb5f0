"""Requests files from the Hugging Face Hub, with huggingface_hub's session, token, proxies.

Every error of theirs or of the Hub becomes a ``DownloadError``, or ``Dropped`` if another
try may help.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from gptoss_mlx import __version__
from gptoss_mlx.errors import DownloadError, GptOssError
from gptoss_mlx.files import MAX_JSON_BYTES
from gptoss_mlx.sharing.hub_answers import Dropped, check_busy, wrong_range
from gptoss_mlx.sharing.hub_settings import (
    check_token_file,
    reason_text,
    refused,
    set_proxies,
    set_variables,
    short_text,
    with_value,
)

if TYPE_CHECKING:
    import httpx2

__all__ = ["Hub", "hub_cache_root"]

MAX_REDIRECTS = 10


def hub_cache_root() -> str:
    """Import huggingface_hub, and return the folder of its cache.

    Raises:
        DownloadError: The environment's settings are invalid.
    """
    # huggingface_hub reads it at its import. No telemetry is sent.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about settings that do not matter here
            # The modules themselves: the package prints import errors.
            from huggingface_hub import constants
    except Exception as error:
        raise refused("huggingface_hub cannot start", error) from error
    if constants.HF_HUB_DOWNLOAD_TIMEOUT <= 0:
        raise DownloadError(
            "HF_HUB_DOWNLOAD_TIMEOUT must be a number of seconds above 0 "
            f"but is {constants.HF_HUB_DOWNLOAD_TIMEOUT}.",
            hint="Unset HF_HUB_DOWNLOAD_TIMEOUT, or correct it.",
        )
    return str(constants.HF_HUB_CACHE)


class Hub:
    """A repository on the Hub, at one revision.

    The first request opens the session, so nothing blocks before it.
    """

    def __init__(
        self, repository: str, revision: str, *, endpoint: str | None, command: str
    ) -> None:
        self._repository = repository
        self._revision = revision
        self._endpoint = endpoint
        self._again = f"Run it again, and it continues where it stopped: {command}"

    @contextmanager
    def request(
        self, name: str, nbytes: int, start: int, stop: int | None = None
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Request a file from byte ``start`` on.

        Args:
            name: Name of the file.
            nbytes: Its required length.
            start: The first byte, below ``nbytes``.
            stop: Where to stop. None: at its end. A Hub without ranges sends more.

        Yields:
            How many bytes to skip, because the Hub sends them again, and the bytes in
            chunks of about 64 KiB. They may end early, or be too many.

        Raises:
            Dropped: Another try may help.
            DownloadError: Another try does not help.
        """
        wanted = {}
        if start or stop is not None:
            last = "" if stop is None else stop - 1
            wanted["range"] = f"bytes={start}-{last}"
        with self._errors():
            # huggingface_hub reads HF_ENDPOINT at this import, and may refuse it.
            from huggingface_hub.file_download import hf_hub_url

            url = hf_hub_url(
                self._repository, name, revision=self._revision, endpoint=self._endpoint
            )
            with self._response(url, wanted) as response:
                skip = self._check(response, name, nbytes, start)
                yield skip, response.iter_raw()

    def description(self) -> bytes:
        """Request what the Hub's API says of the repository, in JSON: its files.

        Raises:
            Dropped: Another try may help.
            DownloadError: Another try does not help.
        """
        from huggingface_hub import constants

        place = f"{self._endpoint or constants.ENDPOINT}/api/models/{self._repository}"
        url = f"{place}/revision/{self._revision}?blobs=true"
        content = b""
        with self._errors(), self._response(url, {}) as response:
            self._check_found(response)
            for piece in response.iter_raw():
                content += piece
                if len(content) > MAX_JSON_BYTES:
                    break  # which is no JSON then
        return content

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (Dropped, GptOssError):
            raise
        except Exception as error:
            self._translate(error)

    @contextmanager
    def _response(self, url: str, wanted: Mapping[str, str]) -> Iterator[httpx2.Response]:
        from huggingface_hub import constants
        from huggingface_hub.utils import get_session

        try:
            session = get_session()
        except Exception as error:
            raise refused("A connection cannot be set up", error) from error
        headers = {**self._headers(), "accept-encoding": "identity", **wanted}
        request = session.build_request(
            "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        )
        for _ in range(MAX_REDIRECTS):
            # Followed here, because httpx2 would read the whole body of a redirect. It
            # removes the token if the next request goes to another host.
            response = session.send(request, stream=True, follow_redirects=False)
            if response.next_request is None:
                break
            request = response.next_request
            response.close()
        else:
            raise DownloadError(
                f"{self._repository} must be reachable on the Hub but is not: "
                f"more than {MAX_REDIRECTS} redirects.",
                hint=self.place_hint(),
            )
        try:
            yield response
        finally:
            response.close()

    def _headers(self) -> dict[str, str]:
        from huggingface_hub import constants
        from huggingface_hub.utils import build_hf_headers

        try:
            check_token_file(constants.HF_TOKEN_PATH)
            headers = build_hf_headers(
                library_name="gptoss-mlx", library_version=__version__
            )
        except DownloadError:
            raise
        except Exception as error:
            raise refused("The request cannot be made", error) from error
        # Checked here, because httpx2's message would show the token.
        if not re.fullmatch(r"[!-~ ]*", headers.get("authorization", "")):
            named = set_variables("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") or [
                constants.HF_TOKEN_PATH
            ]
            raise DownloadError(
                f"{named[0]} must be a token, in ASCII, but is not.",
                hint=f"Unset or remove {named[0]}: gpt-oss needs no token.",
            )
        return headers

    def _check(self, response: httpx2.Response, name: str, nbytes: int, start: int) -> int:
        """Return how many bytes of the answer are already there.

        Raises:
            Dropped: The Hub is too busy.
            DownloadError: The answer does not fit the request.
        """
        status = response.status_code
        check_busy(response)
        if status not in (200, 206):
            self._raise_for_status(response, name)
        if "html" in response.headers.get("content-type", "").lower():
            self._wrong(response, name, "sends a web page", "It may be a login page.")
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            self._wrong(response, name, f"sends it encoded ({short_text(encoding)})")
        if status == 206:
            if (found := wrong_range(response, start, nbytes)) is not None:
                self._wrong(response, name, f"sends {found} for {start}- of {nbytes}")
            return 0
        length = response.headers.get("content-length")
        if length is not None and length != str(nbytes):
            self._wrong(response, name, f"sends {short_text(length)} bytes for {nbytes:,}")
        return start

    def _check_found(self, response: httpx2.Response) -> None:
        """Check that the Hub knows the repository."""
        check_busy(response)
        if response.status_code == 200:
            return
        said = short_text(response.headers.get("x-error-message", "")).rstrip(".")
        raise DownloadError(
            f"{self._repository} must be a model on the Hub, but "
            f"{short_text(response.url.host)} answers with status {response.status_code}"
            f"{f': {said}' if said else ''}.",
            # The Hub says of a private one and of none the same.
            hint="Check the name. If it is private, or its terms must be accepted, do that "
            "and log in: hf auth login",
        )

    def _wrong(
        self, response: httpx2.Response, name: str, what: str, why: str = ""
    ) -> NoReturn:
        raise DownloadError(
            f"{name} must be the released file, but {short_text(response.url.host)} "
            f"{what}.",
            hint=" ".join(part for part in (why, self.place_hint()) if part),
        )

    def _raise_for_status(self, response: httpx2.Response, name: str) -> NoReturn:
        status = response.status_code
        said = short_text(response.headers.get("x-error-message", ""))
        message = (
            f"{name} of {self._repository} must be on the Hub, but "
            f"{short_text(response.url.host)} answers with status {status}"
            f"{f': {said}' if said else ''}."
        )
        hint = self.place_hint()
        if status in (401, 403):
            named = set_variables("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
            hint = (
                f"The token in {named[0]} may have expired: unset it, gpt-oss needs none."
                if named
                else "A stored token may have expired (hf auth logout), or this Hub wants "
                "one: set HF_TOKEN."
            )
        raise DownloadError(message, hint=hint)

    def _translate(self, error: Exception) -> NoReturn:
        """Raise an error of httpx2 as ``Dropped`` or ``DownloadError``."""
        import httpx2
        from huggingface_hub.errors import OfflineModeIsEnabled

        unreachable = f"{self._repository} must be reachable on the Hub but is not"
        if isinstance(error, OfflineModeIsEnabled):
            named = set_variables("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") or [
                "HF_HUB_OFFLINE"
            ]
            raise DownloadError(
                f"{unreachable}: {named[0]} is set.",
                hint=f"Unset {named[0]}, and run it again.",
            ) from error
        reason = reason_text(error)
        lasting = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)
        if isinstance(error, httpx2.TransportError) and not isinstance(error, lasting):
            contact = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            if "CERTIFICATE_VERIFY_FAILED" in reason:
                raise DownloadError(
                    f"{unreachable}: {reason}.",
                    hint="Check the clock, and set SSL_CERT_FILE to the certificates of "
                    "a proxy that opens connections.",
                ) from error
            raise Dropped(reason, contact=contact) from error
        raise refused(unreachable, error, self._again) from error

    def unreachable(self, reason: str) -> DownloadError:
        """Return the error for a Hub that was not reached."""
        through = set_proxies() or (
            set_variables("HF_ENDPOINT") if not self._endpoint else []
        )
        return DownloadError(
            f"{self._repository} must be reachable on the Hub but is not: {reason}"
            f"{f' ({with_value(through[0])} is set)' if through else ''}.",
            hint=self._again,
        )

    def place_hint(self) -> str:
        """Return a hint for a Hub that sends other files."""
        if os.environ.get("HF_ENDPOINT") and self._endpoint is None:
            return "Unset HF_ENDPOINT, or set it to a mirror that has the release."
        return self._again
