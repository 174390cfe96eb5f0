from __future__ import annotations

import mlx.core as mx
import pytest

from gptoss_mlx.device import this_machine
from gptoss_mlx.device_errors import device_errors
from gptoss_mlx.errors import DeviceError, StorageError

NO_DEVICE = (
    "[metal::load_device] No Metal device available. This typically occurs in headless, "
    "sandboxed, or virtualized macOS sessions where the GPU is not accessible."
)
FAILED = "[METAL] Command buffer execution failed: "


@pytest.mark.parametrize(
    ("text", "rule", "hint"),
    [
        (f"{FAILED}Insufficient Memory (00000008:kIOGPUOutOfMemory)", "memory", "smaller"),
        ("[metal::malloc] Attempting to allocate 9 bytes which is greater than the "
         "maximum allowed buffer size of 8 bytes.", "memory", "smaller"),
        ("[metal::malloc] Resource limit (499000) exceeded.", "memory", "smaller"),
        ("[malloc] Unable to allocate 99 bytes.", "memory", "smaller"),
        ("std::bad_alloc", "memory", "smaller"),
        (f"{FAILED}Impacting Interactivity (0000000e:k)", "in time", "shorter"),
        (f"{FAILED}Caused GPU Timeout Error (00000002:k)", "in time", "shorter"),
        (NO_DEVICE, "be a GPU", "Apple silicon"),
        ("[gpu::eval] GPU backend is not available", "be a GPU", "Apple silicon"),
        (f"{FAILED}Something that nobody knows", "device must compute", "again"),
        ("[metal::Device] Unable to load kernel rope\nNo such\n", "must compute", "again"),
    ],
)  # fmt: skip
def test_what_mlx_says_of_the_device_has_a_name(text: str, rule: str, hint: str) -> None:
    """The message has the rule and MLX's own text, on one line; the hint suits the kind."""
    with pytest.raises(DeviceError) as caught, device_errors():
        raise RuntimeError(text)

    message = str(caught.value)
    assert rule in message.split(": ")[0]
    assert message.endswith(f": {' '.join(text.split()).rstrip('.')}.")
    assert hint in caught.value.hint


def test_memory_that_python_is_refused_has_the_same_name() -> None:
    """MLX's ``std::bad_alloc`` comes as a MemoryError, whatever its text."""
    rule = r"^The memory must hold .*: std::bad_alloc\."
    with pytest.raises(DeviceError, match=rule), device_errors():
        raise MemoryError


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("out of memory"),
        RuntimeError("[matmul] Last dimension of first input must match memory."),
        RuntimeError("[metal_kernel] Only supports the GPU."),
        RuntimeError("a grammar said [METAL]"),
        ValueError(
            "[metal::set_wired_limit] Setting a wired limit larger than the maximum."
        ),
        RecursionError("maximum recursion depth exceeded"),
    ],
)
def test_an_error_that_is_not_the_device_s_passes(error: Exception) -> None:
    """It is somebody's mistake, and must be seen as it is."""
    with pytest.raises(type(error)) as caught, device_errors():
        raise error

    assert caught.value is error


@pytest.mark.parametrize("said", ["", "in "])
def test_a_folder_for_temporary_files_that_is_not_there(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named: MLX compiles there what runs on the CPU."""
    monkeypatch.setenv("TMPDIR", "/no/such")
    rule = "TMPDIR must name a folder but is '/no/such'"
    with pytest.raises(StorageError, match=rule) as caught, device_errors():
        raise RuntimeError(f"filesystem error: {said}temp_directory_path: No such file")

    assert caught.value.hint == "Set it to a folder: export TMPDIR=/tmp"


def test_a_machine_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows where the machine is first looked at."""

    def refuse() -> None:
        raise RuntimeError(NO_DEVICE)

    monkeypatch.setattr(mx, "device_info", refuse)
    with pytest.raises(DeviceError, match="MLX finds none"):
        this_machine()
