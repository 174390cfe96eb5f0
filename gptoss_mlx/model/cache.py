"""KV caches, one per layer.

The names ``offset``, ``update_and_fetch`` and ``state`` are mlx-lm's, so that mlx-lm can
generate with these caches.
"""

from __future__ import annotations

from gptoss_mlx.config import LayerType, ModelConfig
from gptoss_mlx.model.full_cache import FullCache
from gptoss_mlx.model.sliding_cache import SlidingCache

__all__ = ["Cache", "layer_cache"]

Cache = FullCache | SlidingCache


def layer_cache(config: ModelConfig, kind: LayerType) -> Cache:
    """Make the empty cache of a layer."""
    if kind == "sliding_attention":
        return SlidingCache(config.sliding_window)
    return FullCache()
