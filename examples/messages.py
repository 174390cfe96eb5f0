"""Ask with a list of messages, as OpenAI's API has them, and go on with the answer.

Run: python examples/messages.py
Prints: two answers of the demo model, a miniature that ships in the package
"""

from gptoss_mlx import load

model = load("demo")  # or 20b, 120b, a folder
messages = [{"role": "user", "content": "What is gpt-oss?"}]
answer = model.ask(messages, effort="low")
print(answer)
print(model.ask([*messages, *answer.messages, {"role": "user", "content": "And MXFP4?"}]))
