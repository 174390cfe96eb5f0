"""Convert released gpt-oss checkpoints. Imported as ``gptoss_mlx.convert``."""

from .pipeline import Conversion, convert_checkpoint
from .verify import VerifyReport, verify_checkpoint

__all__ = [
    "Conversion",
    "VerifyReport",
    "convert_checkpoint",
    "verify_checkpoint",
]
