"""Ask a model from Python: one answer, then a conversation piece by piece.

Run: python examples/ask.py
Prints: the two answers of the demo model, a miniature that ships in the package
"""

from gptoss_mlx import load

model = load("demo")  # or 20b, 120b, a folder
print(model.ask("What is gpt-oss?"))
for piece in model.stream("What is MXFP4?"):
    if piece.channel == "final":
        print(piece.text, end="", flush=True)
print()
