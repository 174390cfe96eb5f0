"""OpenAI's releases: repositories, revisions, and the files to download.

Source: https://huggingface.co/openai/gpt-oss-20b/tree/main and .../gpt-oss-120b
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["RELEASES", "Pin", "Release"]


class Pin(NamedTuple):
    """The required size and digest of a file."""

    nbytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Release:
    """A checkpoint on the Hub, whose files are known before any is requested.

    Attributes:
        repository: The repository on the Hub.
        revision: The commit of the files.
        files: All files that are downloaded, checked and used, by name.
    """

    repository: str
    revision: str
    files: Mapping[str, Pin]

    @property
    def name(self) -> str:
        """The repository's name, without its owner."""
        return self.repository.rpartition("/")[2]

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(pin.nbytes for pin in self.files.values())


# Equal in both releases.
_TOKENIZER_AND_SETTINGS: Mapping[str, Pin] = {
    "chat_template.jinja": Pin(
        16_738,
        "a4c9919cbbd4acdd51ccffe22da049264b1b73e59055fa58811a99efbd7c8146",
    ),
    "generation_config.json": Pin(
        177,
        "f9970ada892d2d1f72e3ed0a6535ccebadd11897318794ca671d8c7014c957da",
    ),
    "special_tokens_map.json": Pin(
        98,
        "dd5e191d20c12d2fee1da5bae14ca1db0f5f4215300af691f23cdee97120a293",
    ),
    "tokenizer.json": Pin(
        27_868_174,
        "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3",
    ),
    "tokenizer_config.json": Pin(
        4200,
        "9279e942392b742d633c7adbb89ebe002c98399db8926a7af5125c726f404070",
    ),
}

RELEASES: Mapping[str, Release] = {
    "20b": Release(
        "openai/gpt-oss-20b",
        "6cee5e81ee83917806bbde320786a8fb61efebee",
        {
            **_TOKENIZER_AND_SETTINGS,
            "USAGE_POLICY": Pin(
                200,
                "d6387ef7985019c45db8d9801e6ac5fd9f98f02b9f1c56f8c5af80c3e8f385d0",
            ),
            "config.json": Pin(
                1806,
                "3a2a26ded679375b7928ddeca59764df7cea83220c1961035f6d6e232659e9ce",
            ),
            "model-00000-of-00002.safetensors": Pin(
                4_792_272_488,
                "16d0f997dcfc4462089d536bffe51b4bcea2f872f5c430be09ef8ed392312427",
            ),
            "model-00001-of-00002.safetensors": Pin(
                4_798_702_184,
                "4fbe328ab445455d6f58dc73852b85873bd626986310abd91cd4d2ce3245eaea",
            ),
            "model-00002-of-00002.safetensors": Pin(
                4_170_342_232,
                "a18106b209e9ab35c3406db4f6f12a927364a058b21e9d1373d682e20674b303",
            ),
            "model.safetensors.index.json": Pin(
                36_355,
                "0e085b977c4c9942f85938828e8c989ed7d5cdabf852e4da6a67c116cd502cd1",
            ),
        },
    ),
    "120b": Release(
        "openai/gpt-oss-120b",
        "b5c939de8f754692c1647ca79fbf85e8c1e70f8a",
        {
            **_TOKENIZER_AND_SETTINGS,
            "LICENSE": Pin(
                11_357,
                "58d1e17ffe5109a7ae296caafcadfdbe6a7d176f0bc4ab01e12a689b0499d8bd",
            ),
            "USAGE_POLICY": Pin(
                201,
                "fc48d386a7a7ff8b066f743cfe62df683ab16892450f5bb7357bb4de261cd037",
            ),
            "config.json": Pin(
                2089,
                "933aeb666a3fd851133ddd7686414f369bc564c4185fb5704416550879f10566",
            ),
            "model-00000-of-00014.safetensors": Pin(
                4_625_017_896,
                "695218884684c611fe08a74751ee443f971e9bd9bc062edba822da3fe45969b7",
            ),
            "model-00001-of-00014.safetensors": Pin(
                4_115_586_736,
                "a881aa5f561b26a22b14a8262aa61849ace349ffd73d74769e030ac90a1fcf8a",
            ),
            "model-00002-of-00014.safetensors": Pin(
                4_625_017_888,
                "022478dd04398c5bdb545a5be0a6437ecc2eb53d1dbd29edafcfff4b3ddf0a41",
            ),
            "model-00003-of-00014.safetensors": Pin(
                4_115_586_752,
                "47aee9e7b9d5bedb215042c01ccededd9bd9c30b0dddea862dc2506b9d6c74de",
            ),
            "model-00004-of-00014.safetensors": Pin(
                4_625_017_896,
                "f6c2752acda607b1d5ca52df9e75c1b9b2761e6875ff10c9bd6ddac473c0262e",
            ),
            "model-00005-of-00014.safetensors": Pin(
                4_115_586_696,
                "0c8dd401544c31cb93b8459eee7da20ea2a07626a59455d7d92b85257df9b46c",
            ),
            "model-00006-of-00014.safetensors": Pin(
                4_625_017_856,
                "28d839f2e027985a8b14e45f2323798862eddb7770ee9800ea6b7c803abee489",
            ),
            "model-00007-of-00014.safetensors": Pin(
                4_060_267_176,
                "c8958c5f183c04f6ea959cfd90562b5128124154b2bbf979b8a22b9405b30ed8",
            ),
            "model-00008-of-00014.safetensors": Pin(
                4_625_017_896,
                "bf1f2a88868ffc37d520dcf77d26f0e823710b5e682d473ff10f6974fa3b7517",
            ),
            "model-00009-of-00014.safetensors": Pin(
                4_170_906_304,
                "f72d34a4004241b45c332b61f8ffa124e9a913bc1ab442b66e717d3e94e741ce",
            ),
            "model-00010-of-00014.safetensors": Pin(
                4_625_017_896,
                "f48c867c2cb0a44bfc2f8768cb98e4aec9a350946fceacfebdcad5d32ad4a471",
            ),
            "model-00011-of-00014.safetensors": Pin(
                4_115_586_752,
                "a06851b2cfd35f48722f823bc1ab8f7bcb4a878a5b8e975f4d3544f230454eeb",
            ),
            "model-00012-of-00014.safetensors": Pin(
                4_064_660_808,
                "3af33667c307e20ae2a7648ea52653de46dd0171601ec5c696e47a2f5d5bf1e4",
            ),
            "model-00013-of-00014.safetensors": Pin(
                4_625_017_896,
                "bcbcb74b043e071d1e05471d500d74dcf661175e00878ed302ccdf1801a75aef",
            ),
            "model-00014-of-00014.safetensors": Pin(
                4_115_586_736,
                "54b1be1609696c307cc5ca117b1fa54feaddebffa04e9c2db117652a01964230",
            ),
            "model.safetensors.index.json": Pin(
                54_511,
                "ede2655fdc05008561983b6e0829c600727c28d591e071077377059f03a6c00e",
            ),
        },
    ),
}
"""By their names in gptoss-mlx."""
