"""Read gpt-oss checkpoints in every layout they come in.

``open_checkpoint`` tells the layout by its content, checks every header, and shows the
tensors under the names of Hugging Face's release. Nothing is read before it is used.
"""

from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.checkpoint.layout import Layout
from gptoss_mlx.checkpoint.safetensors import TensorInfo

__all__ = ["Checkpoint", "Layout", "TensorInfo", "open_checkpoint"]
