"""Print an answer while it is generated, and its reasoning before it.

Run: python examples/stream.py
Prints: the reasoning, then the answer of the demo model
"""

from gptoss_mlx import load

model = load("demo")  # or 20b, 120b, a folder
heading = None
for piece in model.stream("What is MXFP4?"):
    kind = "answer" if piece.answer else piece.channel
    if kind != heading:
        heading = kind
        print(f"\n[{heading}] ", end="")
    print(piece.answer or piece.text, end="", flush=True)
print()
