from __future__ import annotations

import os
from pathlib import Path

import pytest

from gptoss_mlx.sharing import file_system


def test_the_file_system_of_a_path_on_macos() -> None:
    """The disk is the one that is mounted deepest; its name may have spaces."""
    output = (
        "/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n"
        "/dev/disk4s1 on /Volumes/USB (msdos, local, nodev, nosuid, noowners)\n"
        "/dev/disk5s1 on /Volumes/USB 2 (1) (exfat, local, nodev)\n"
    )
    find = file_system._in_mount_output

    assert find(output, "/Volumes/USB/models") == "msdos"
    assert find(output, "/Volumes/USB") == "msdos"
    assert find(output, "/Volumes/USB 2 (1)/models") == "exfat"
    assert find(output, "/Users/ada") == "apfs"
    assert find("", "/Users/ada") is None


def test_the_file_system_of_a_device_on_linux() -> None:
    """By its number."""
    content = (
        b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n"
        b"40 35 8:17 / /media/usb rw,nosuid shared:9 - vfat /dev/sdb1 rw\n"
    )
    find = file_system._in_mount_info

    assert find(content, os.makedev(8, 17)) == "vfat"
    assert find(content, os.makedev(98, 0)) == "ext3"
    assert find(content, os.makedev(1, 1)) is None
    assert find(b"broken\n", 0) is None


def test_a_fat_disk_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other disks have none that matters."""
    assert file_system.file_system(tmp_path) is not None
    assert file_system.max_file_bytes(tmp_path) is None
    monkeypatch.setattr(file_system, "file_system", lambda folder: "msdos")
    assert file_system.max_file_bytes(tmp_path) == 4_294_967_295
