"""Train the demo model that ships in the package, from dialogues.json.

The architecture is gpt-oss's: YaRN with unrounded ramp, sinks, a sliding window, clamped
SwiGLU, a router. Weights are rounded in the loop as they will be stored: experts to MXFP4,
the rest to bfloat16. Needs torch; takes about 20 minutes of CPU time.

How it learns. A linear model of the words of a question, trained in seconds, tells most
topics; its coordinates are where the embedding starts from, and heads that look back over a
broad window hand their mean to the place where the answer begins. So the network knows from
the first step what is asked, and has only the answers to learn. The reasoning always
begins alike and names the topic next: what is out of scope is one topic of many.

Run: python examples/demo_model/train.py gptoss_mlx/data/demo.safetensors.xz
Prints: losses, the questions it answers wrongly, and DEMO_SHA256 for
gptoss_mlx/demo/package.py
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np

try:
    import torch
except ImportError:
    sys.exit("Training needs torch: pip install torch")

from architecture import CONFIG
from batches import tokenizer
from quantization import released_tensors
from questions import Questions
from trainer import STAGES, Stage, Trainer

from gptoss_mlx.demo.package import pack_demo
from gptoss_mlx.tokenizer import VOCAB_SIZE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--speed-up", type=float, default=1.0, help="For a try: fewer steps."
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    source = Path(__file__).with_name("dialogues.json")
    trainer = Trainer(Questions(source, tokenizer), options.seed)
    print(f"{len(trainer.trained)} rows of {VOCAB_SIZE} in training")
    for stage in STAGES:
        steps = round(stage.steps / options.speed_up)
        print(f"stage of {steps} steps", flush=True)
        trainer.train(Stage(**{**vars(stage), "steps": steps}))
    wrong = list(trainer.wrong_answers())
    print(*wrong, f"{len(wrong)} wrong answers", sep="\n")
    weights, embedding, lm_head = trainer.finished()
    tensors = released_tensors(weights, embedding, lm_head)
    packed = pack_demo(CONFIG, tensors, np.array(trainer.trained, np.int32))
    options.output.write_bytes(packed)
    print(f"{options.output}: {len(packed):,} bytes")
    print(f'DEMO_SHA256 = "{hashlib.sha256(packed).hexdigest()}"')


if __name__ == "__main__":
    main()
