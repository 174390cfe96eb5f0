"""Read what an answer has beside its text: why it ended, tokens and seconds.

Run: python examples/usage.py
Prints: a line for each
"""

from gptoss_mlx import load

model = load("demo")  # or 20b, 120b, a folder
answer = model.ask("What is gpt-oss?", max_tokens=500, seed=7)
usage = answer.usage
print("ended:", answer.reason)  # stop, length, context, calls or repetition
print("prompt tokens:", usage.prompt_tokens, "of which cached:", usage.cached_tokens)
print("generated tokens:", usage.generated_tokens)
print("of which reasoning:", usage.reasoning_tokens)
print(f"speed: {usage.tokens_per_s:.0f} tokens/s")
