"""Let a model call a Python function.

Run: python examples/tool_call.py (needs gpt-oss-20b: the demo model cannot call tools)
Prints: the model's call, the function's result, and the answer
"""

import sys
from typing import Literal

from gptoss_mlx import GptOssError, load


def temperature(city: Literal["Oslo", "Rome"]) -> dict[str, object]:
    """Return the temperature in a city.

    The model sees this text, the types, and the message of an error raised here.

    Args:
        city: The city.
    """
    return {"city": city, "celsius": {"Oslo": 4, "Rome": 19}[city]}


try:
    model = load("20b")
except GptOssError as error:
    sys.exit(f"{error}\nHint: {error.hint}")
answer = model.ask("Do I need a coat in Oslo?", tools=[temperature])
for message in answer.messages:
    if message.recipient is not None:
        print(f"{message.recipient}: {message.content}")
print(answer)
