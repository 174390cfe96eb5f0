"""Settings of huggingface_hub and httpx2 that cannot be used: one error that names them."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import raw_controls
from huggingface_hub import close_session
from local_hub import Hub

from gptoss_mlx import __version__
from gptoss_mlx.errors import DownloadError
from gptoss_mlx.sharing.download import fetch_release
from gptoss_mlx.sharing.hub_settings import reason_text, with_value

# The variable, its value, and what the message has besides its name.
AT_THE_REQUEST = [
    ("ALL_PROXY", "socks://h:1", "Unknown scheme"),
    ("ALL_PROXY", "socks5://127.0.0.1:9", "socksio"),
    ("HTTP_PROXY", "http://u:secret@h:abc", "Invalid port"),
    ("http_proxy", "ftp://u:secret@h:1", "Unknown scheme"),
    ("HTTP_PROXY", "http://u:secret@127.0.0.1:1", "refused"),
    ("SSL_CERT_FILE", "/nowhere/at-all", "/nowhere/at-all"),
    ("SSL_CERT_FILE", os.devnull, os.devnull),
    ("HF_TOKEN", "hf_secretä", "ASCII"),
    ("HF_TOKEN", "hf_secret\x01x", "ASCII"),
    ("HF_TOKEN", "hf_secret\x7fx", "ASCII"),
]
AT_THE_START = [
    ("HF_HUB_DOWNLOAD_TIMEOUT", "abc", "'abc'"),
    ("HF_HUB_DOWNLOAD_TIMEOUT", "-4", "above 0"),
    ("HF_HUB_ETAG_TIMEOUT", "1.5", "1.5"),
    ("HF_HOME", __file__, __file__),
    ("HF_HOME", "/proc/x", "/proc/x"),
    ("HF_HUB_CACHE", f"{__file__}/x", __file__),
    ("HF_HUB_OFFLINE", "1", "is set"),
    ("TRANSFORMERS_OFFLINE", "1", "is set"),
    ("HF_ENDPOINT", "nonsense", "missing"),
    ("HF_ENDPOINT", " ", "HF_ENDPOINT=' '"),
    ("HF_ENDPOINT", "http://no-such-host.invalid", "the host name cannot be resolved"),
    ("HF_TOKEN_PATH", "/dev/zero", "/dev/zero must be a file"),
    ("HF_ENDPOINT", "http://127.0.0.1:1", "http://127.0.0.1:1"),
    ("HF_ENDPOINT", "http://127.0.0.1:abc", "abc"),
    ("HF_ENDPOINT", "ftp://x", "ftp"),
    ("HF_ENDPOINT", "http://\x9b2J/", "HF_ENDPOINT"),
    ("HF_HUB_USER_AGENT_ORIGIN", "ä", "ascii"),
    ("HF_TOKEN_PATH", "/", "directory"),
    ("HF_OIDC_RESOURCE", "x", "OIDC"),
]


@pytest.fixture
def hub(local_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one file, and nobody's proxies."""
    monkeypatch.setattr("gptoss_mlx.sharing.transfer.FIRST_PAUSE_S", 0.001)
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    local_hub.files["config.json"] = b"{}"
    close_session()
    yield local_hub
    close_session()


@pytest.mark.parametrize(("name", "value", "also"), AT_THE_REQUEST)
def test_a_setting_that_cannot_be_used_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str, value: str, also: str
) -> None:
    """One error, without secrets, and before any request."""
    monkeypatch.setenv(name, value)

    with pytest.raises(DownloadError) as caught:
        fetch_release(hub.release(), command="again", endpoint=hub.address)
    told = f"{caught.value} {caught.value.hint}"
    assert name in told
    assert also in told
    assert "secret" not in told
    assert raw_controls(told) == []
    assert hub.requests == []


def test_a_hub_that_must_not_be_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE is what the message and the hint are about."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set") as caught:
        fetch_release(hub.release(), command="again", endpoint=hub.address)
    assert caught.value.hint == "Unset HF_HUB_OFFLINE, and run it again."


def test_what_no_list_has_is_a_download_error_too(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any error of a library, with or without a text."""

    class OddError(RuntimeError):
        pass

    def fail(*_: object, **__: object) -> None:
        raise OddError

    monkeypatch.setattr("httpx2.Client.send", fail)
    with pytest.raises(DownloadError, match=r"is not: OddError\.") as caught:
        fetch_release(hub.release(), command="again", endpoint=hub.address)
    assert isinstance(caught.value.__cause__, OddError)


def test_a_cache_that_lies_in_a_file(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its path and the variable are in the message."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("HF_HOME", str(file))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file/hub")
    )

    with pytest.raises(DownloadError, match=r"file/hub, where HF_HOME puts it") as caught:
        fetch_release(hub.release(), command="again", endpoint=hub.address)
    assert caught.value.hint == "Set HF_HOME to a folder of your own."


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            socket.gaierror(-2, "Name or service not known"),
            "the host name cannot be resolved",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (
            RuntimeError("illegal chunk header: bytearray(b'x')"),
            "the server's answer is malformed",
        ),
    ],
)
def test_a_library_s_text_is_told_in_our_words(error: Exception, text: str) -> None:
    """Also where it is the cause of another error, whose text is the same."""
    assert reason_text(error) == text
    again = RuntimeError(str(error))
    again.__cause__ = error
    assert reason_text(again) == text


def test_a_blank_address_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not be seen otherwise."""
    monkeypatch.setenv("HF_ENDPOINT", " ")

    assert with_value("HF_ENDPOINT") == "HF_ENDPOINT=' '"


def test_a_key_log_that_cannot_be_written_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the certificates, which are read at the same time."""
    if (certificates := ssl.get_default_verify_paths().cafile) is not None:
        monkeypatch.setenv("SSL_CERT_FILE", certificates)
    monkeypatch.setenv("SSLKEYLOGFILE", f"{__file__}/x")

    with pytest.raises(DownloadError, match="with SSLKEYLOGFILE:") as caught:
        fetch_release(hub.release(), command="again", endpoint=hub.address)
    assert caught.value.hint == "Unset SSLKEYLOGFILE, or correct it."


@pytest.mark.parametrize("content", [None, "x" * 5000])
def test_what_is_no_token_file_is_not_read(
    content: str | None, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A device, which never ends, or a large file."""
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    token = "/dev/zero" if content is None else str(path)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", token)
    monkeypatch.setenv("HF_TOKEN_PATH", token)

    with pytest.raises(DownloadError, match=f"{token} must be a file of at most") as caught:
        fetch_release(hub.release(), command="again", endpoint=hub.address)
    assert caught.value.hint.startswith("Unset HF_TOKEN_PATH")


def test_requests_name_the_program_and_its_version(hub: Hub) -> None:
    """In the user agent."""
    fetch_release(hub.release(), command="again", endpoint=hub.address)

    agent = hub.requests[0].headers["user-agent"]
    assert agent.startswith(f"gptoss-mlx/{__version__};")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value", "also"), [*AT_THE_START, *AT_THE_REQUEST])
def test_the_command_names_a_setting_that_cannot_be_used(
    tmp_path: Path, name: str, value: str, also: str
) -> None:
    """One error and one hint on stderr, and exit status 1."""
    done = subprocess.run(
        [sys.executable, "-m", "gptoss_mlx", "download", "20b", "--recipe", "exact"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            # Nothing may reach the real Hub.
            "HF_ENDPOINT": "http://127.0.0.1:1",
            name: value,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = done.stderr.splitlines()
    if lines[0].startswith("Downloading"):
        lines = lines[1:]

    assert done.returncode == 1
    assert [line.split()[0] for line in lines] == ["Error:", "Hint:"], done.stderr
    assert name in done.stderr
    assert also in done.stderr
    assert "secret" not in done.stderr
    assert raw_controls(done.stderr) == []
