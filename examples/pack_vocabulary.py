"""Pack OpenAI's o200k_base ranks into the file that ships in the package.

Run: python examples/pack_vocabulary.py o200k_base.tiktoken gptoss_mlx/data/o200k_base.xz
Prints: o200k_base.xz: 815,668 bytes
"""

import sys
from pathlib import Path

from gptoss_mlx.tokenizer import pack_ranks

ranks, output = map(Path, sys.argv[1:])
output.write_bytes(pack_ranks(ranks.read_bytes()))
print(f"{output.name}: {output.stat().st_size:,} bytes")
