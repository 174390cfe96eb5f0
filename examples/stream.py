"""Print an answer while it is generated, and its reasoning before it.

Run: python examples/stream.py
Prints: the reasoning, then the answer of the demo model
"""

from gptoss_mlx import load

model = load("demo")  # or 20b, 120b, a folder
channel = None
for piece in model.stream("What is MXFP4?"):
    if piece.channel != channel:
        channel = piece.channel
        print(f"\n[{channel}] ", end="")
    print(piece.text, end="", flush=True)
print()
