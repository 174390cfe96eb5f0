"""Let a model call a Python function.

Run: python examples/tool_call.py (it needs gpt-oss-20b: the demo model calls nothing)
Prints: the model's call, what the function returned, and the answer
"""

from gptoss_mlx import Function, Functions, ToolDescription, load


def temperature(city: str) -> dict[str, object]:
    """Look it up; an error that is raised here is shown to the model."""
    return {"city": city, "celsius": {"Oslo": 4, "Rome": 19}[city]}


description = ToolDescription(
    "temperature",
    "Tells the temperature in a city.",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
        "required": ["city"],
    },
)
functions = Functions([Function(description, temperature)])

model = load("20b")
answer = model.ask("Do I need a coat in Oslo?", tools=[functions])
for message in answer.messages:
    if message.recipient is not None:
        print(f"{message.recipient}: {message.content}")
print(answer)
