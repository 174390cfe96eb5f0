"""Load gpt-oss-20b by its name where it is here, and else the demo model.

Run: python examples/load_by_name.py
Prints: why 20b is not loaded, if it is not; then an answer
"""

from gptoss_mlx import GptOssError, load

try:
    model = load("openai/gpt-oss-20b")
except GptOssError as error:
    print(error)  # 20b is not downloaded yet.
    print("Hint:", error.hint)  # gptoss-mlx download 20b
    model = load("demo")
print(model)
print(model.ask("What is gpt-oss?"))
