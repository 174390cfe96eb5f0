"""Ask a model from Python: print one answer, then stream another.

Run: python examples/ask.py
Prints: two answers of the built-in demo model
"""

from gptoss_mlx import load

model = load("demo")  # or 20b, 120b, a folder
print(model.ask("What is gpt-oss?"))
for piece in model.stream("What is MXFP4?"):
    print(piece.answer, end="", flush=True)
print()
