"""What OpenAI released: repositories, revisions, and the sha256 of every shard.

Source: https://huggingface.co/openai/gpt-oss-20b/tree/main and .../gpt-oss-120b
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["RELEASES", "Release"]


@dataclass(frozen=True, slots=True)
class Release:
    """One of the two released checkpoints, in Hugging Face layout.

    Attributes:
        repository: On the Hub.
        revision: The commit that the sums are of.
        shards: Bytes and sha256 of each, by name.
    """

    repository: str
    revision: str
    shards: Mapping[str, tuple[int, str]]

    @property
    def name(self) -> str:
        """The repository's, without its owner."""
        return self.repository.rpartition("/")[2]

    @property
    def nbytes(self) -> int:
        """Bytes of all shards."""
        return sum(nbytes for nbytes, _ in self.shards.values())

    @property
    def command(self) -> str:
        """What fetches it."""
        return f"gptoss-mlx download {self.repository}"


RELEASES: Mapping[str, Release] = {
    "20b": Release(
        "openai/gpt-oss-20b",
        "6cee5e81ee83917806bbde320786a8fb61efebee",
        {
            "model-00000-of-00002.safetensors": (
                4_792_272_488,
                "16d0f997dcfc4462089d536bffe51b4bcea2f872f5c430be09ef8ed392312427",
            ),
            "model-00001-of-00002.safetensors": (
                4_798_702_184,
                "4fbe328ab445455d6f58dc73852b85873bd626986310abd91cd4d2ce3245eaea",
            ),
            "model-00002-of-00002.safetensors": (
                4_170_342_232,
                "a18106b209e9ab35c3406db4f6f12a927364a058b21e9d1373d682e20674b303",
            ),
        },
    ),
    "120b": Release(
        "openai/gpt-oss-120b",
        "b5c939de8f754692c1647ca79fbf85e8c1e70f8a",
        {
            "model-00000-of-00014.safetensors": (
                4_625_017_896,
                "695218884684c611fe08a74751ee443f971e9bd9bc062edba822da3fe45969b7",
            ),
            "model-00001-of-00014.safetensors": (
                4_115_586_736,
                "a881aa5f561b26a22b14a8262aa61849ace349ffd73d74769e030ac90a1fcf8a",
            ),
            "model-00002-of-00014.safetensors": (
                4_625_017_888,
                "022478dd04398c5bdb545a5be0a6437ecc2eb53d1dbd29edafcfff4b3ddf0a41",
            ),
            "model-00003-of-00014.safetensors": (
                4_115_586_752,
                "47aee9e7b9d5bedb215042c01ccededd9bd9c30b0dddea862dc2506b9d6c74de",
            ),
            "model-00004-of-00014.safetensors": (
                4_625_017_896,
                "f6c2752acda607b1d5ca52df9e75c1b9b2761e6875ff10c9bd6ddac473c0262e",
            ),
            "model-00005-of-00014.safetensors": (
                4_115_586_696,
                "0c8dd401544c31cb93b8459eee7da20ea2a07626a59455d7d92b85257df9b46c",
            ),
            "model-00006-of-00014.safetensors": (
                4_625_017_856,
                "28d839f2e027985a8b14e45f2323798862eddb7770ee9800ea6b7c803abee489",
            ),
            "model-00007-of-00014.safetensors": (
                4_060_267_176,
                "c8958c5f183c04f6ea959cfd90562b5128124154b2bbf979b8a22b9405b30ed8",
            ),
            "model-00008-of-00014.safetensors": (
                4_625_017_896,
                "bf1f2a88868ffc37d520dcf77d26f0e823710b5e682d473ff10f6974fa3b7517",
            ),
            "model-00009-of-00014.safetensors": (
                4_170_906_304,
                "f72d34a4004241b45c332b61f8ffa124e9a913bc1ab442b66e717d3e94e741ce",
            ),
            "model-00010-of-00014.safetensors": (
                4_625_017_896,
                "f48c867c2cb0a44bfc2f8768cb98e4aec9a350946fceacfebdcad5d32ad4a471",
            ),
            "model-00011-of-00014.safetensors": (
                4_115_586_752,
                "a06851b2cfd35f48722f823bc1ab8f7bcb4a878a5b8e975f4d3544f230454eeb",
            ),
            "model-00012-of-00014.safetensors": (
                4_064_660_808,
                "3af33667c307e20ae2a7648ea52653de46dd0171601ec5c696e47a2f5d5bf1e4",
            ),
            "model-00013-of-00014.safetensors": (
                4_625_017_896,
                "bcbcb74b043e071d1e05471d500d74dcf661175e00878ed302ccdf1801a75aef",
            ),
            "model-00014-of-00014.safetensors": (
                4_115_586_736,
                "54b1be1609696c307cc5ca117b1fa54feaddebffa04e9c2db117652a01964230",
            ),
        },
    ),
}
"""By the names they have here."""
