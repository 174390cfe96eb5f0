"""A chat template for texts in the harmony format, from which mlx-lm makes prompts.

For folders whose source has none. The released template also describes tools.
"""

from __future__ import annotations

__all__ = ["chat_template"]

# Jinja, as transformers renders it.
_TEMPLATE = r"""
{{- "<|start|>system<|message|>" -}}
{{- "You are ChatGPT, a large language model trained by OpenAI.\n" -}}
{{- "Knowledge cutoff: 2024-06\n" -}}
{{- "Current date: " + strftime_now("%Y-%m-%d") + "\n\n" -}}
{{- "Reasoning: " + (reasoning_effort or "medium") + "\n\n" -}}
{{- "# Valid channels: analysis, commentary, final. " -}}
{{- "Channel must be included for every message.<|end|>" -}}
{%- for message in messages -%}
    {%- if message.role in ["system", "developer"] -%}
        {{- "<|start|>developer<|message|># Instructions\n\n" -}}
        {{- message.content + "<|end|>" -}}
    {%- elif message.role == "user" -%}
        {{- "<|start|>user<|message|>" + message.content + "<|end|>" -}}
    {%- elif message.role == "assistant" -%}
        {{- "<|start|>assistant<|channel|>final<|message|>" -}}
        {{- message.content + "<|end|>" -}}
    {%- else -%}
        {{- raise_exception("@ has no role " + message.role) -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|start|>assistant" -}}
{%- endif -%}
"""


def chat_template(subject: str) -> str:
    """Return the template.

    Args:
        subject: What has no other roles than the template's, for the message about one.
    """
    return _TEMPLATE.replace("@", subject)
