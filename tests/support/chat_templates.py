"""Chat templates in miniature: the constructs by which published ones think or print a date, and nothing else."""

from __future__ import annotations

_TURNS = "{%- for message in messages %}"

QWEN3 = (
    _TURNS + "{%- if message.role == 'assistant' %}"
    "{{- '<|im_start|>assistant\n<think>\n\n</think>\n\n' + message.content + '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
"""Thinks unless ``enable_thinking`` is false."""

DEEPSEEK_R1 = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}"
    + _TURNS
    + "{%- if message['role'] == 'user' %}{{'<|User|>' + message['content']}}{%- endif %}"
    "{%- if message['role'] == 'assistant' %}{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<|Assistant|>' + content + eos_token}}{%- endif %}{%- endfor -%}"
    "{% if add_generation_prompt %}{{'<|Assistant|><think>\n'}}{% endif %}"
)
"""Opens a thought in every prompt and has no switch for it."""

GLM4 = (
    "[gMASK]<sop>\n"
    "{%- macro visible_text(content) -%}{{- content }}{%- endmacro -%}" + _TURNS + "{% if message.role == 'user' %}"
    "<|user|>\n{{ visible_text(message.content) }}"
    "{{- '/nothink' if (enable_thinking is defined and not enable_thinking and "
    "not visible_text(message.content).endswith(\"/nothink\")) else '' -}}"
    "{%- elif message.role == 'assistant' -%}<|assistant|>{{ '\n<think></think>' }}{{ '\n' + message.content }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>"
    "{{- '\n<think></think>' if (enable_thinking is defined and not enable_thinking) else '' -}}{%- endif -%}"
)
"""GLM-4.5: the switch stands in the user's turn too."""

LLAMA32 = (
    "{{- bos_token }}\n"
    "{%- if not date_string is defined %}\n"
    "    {%- if strftime_now is defined %}\n"
    '        {%- set date_string = strftime_now("%d %b %Y") %}\n'
    "    {%- else %}\n"
    '        {%- set date_string = "26 Jul 2024" %}\n'
    "    {%- endif %}\n"
    "{%- endif %}\n"
    "{%- if not tools is defined %}{%- set tools = none %}{%- endif %}\n"
    '{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}\n'
    "{%- if tools is not none %}{{- 'Environment: ipython\n' }}{%- endif %}\n"
    '{{- "Today Date: " + date_string + "\n\n<|eot_id|>" }}\n'
    "{%- for message in messages %}\n"
    "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim }}\n"
    "    {{- '<|eot_id|>' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}\n"
)
"""Prints today's date."""

GPT_OSS = (
    "{%- macro build_system_message() -%}"
    "{%- if model_identity is not defined %}{%- set model_identity = 'You are ChatGPT.' %}{%- endif %}"
    '{{- model_identity + "\n" }}{{- "Current date: " + strftime_now("%Y-%m-%d") + "\n\n" }}'
    '{%- if reasoning_effort is not defined %}{%- set reasoning_effort = "medium" %}{%- endif %}'
    '{{- "Reasoning: " + reasoning_effort }}{%- endmacro -%}'
    '{{- "<|start|>system<|message|>" }}{{- build_system_message() }}{{- "<|end|>" }}'
    + _TURNS
    + "{%- if message.role == 'assistant' -%}"
    '{{- "<|start|>assistant<|channel|>final<|message|>" + message.content }}'
    '{%- if loop.last and not add_generation_prompt %}{{- "<|return|>" }}{%- else %}{{- "<|end|>" }}{%- endif %}'
    "{%- elif message.role == 'user' -%}"
    '{{- "<|start|>user<|message|>" + message.content + "<|end|>" }}{%- endif -%}{%- endfor -%}'
    "{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}"
)
"""Knows degrees of thinking, prints today's date, and leaves the channel to the model."""

GRANITE = (
    "{%- if thinking %}{{- '<|system|>Think first.<|end|>\n' }}{%- endif %}"
    + _TURNS
    + "{{- '<|' + message.role + '|>' + message.content + '<|end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
"""Thinks when ``thinking`` is true, as Granite 3.2 and DeepSeek V3.1 do."""

MISTRAL = (
    "{%- if reasoning_effort is not defined %}{%- set reasoning_effort = 'none' %}{%- endif %}"
    "{%- if reasoning_effort not in ['none', 'high'] %}"
    '{{- raise_exception(\'reasoning_effort must be either "none" or "high"\') }}{%- endif %}'
    "{{- bos_token + '[MODEL_SETTINGS]' + ({'reasoning_effort': reasoning_effort} | tojson) + '[/MODEL_SETTINGS]' }}"
    + _TURNS
    + "{%- if message.role == 'user' %}{{- '[INST]' + message.content + '[/INST]' }}{%- else %}"
    "{% generation %}{{- message.content + eos_token }}{% endgeneration %}{%- endif %}{%- endfor %}"
)
"""Refuses degrees of thinking that it does not know; marks what the assistant wrote."""

ZEPHYR = (
    "{% for message in messages %}\n"
    "    {% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
    "    {% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n' + message['content'] + eos_token }}\n"
    "    {% endif %}\n"
    "    {% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n    {% endif %}\n"
    "{% endfor %}"
    "{% if tools is defined and documents is defined %}{{ {'tools': tools, 'é': '<'} | tojson }}{% endif %}\n"
)
"""Statements on lines of their own, whose white space is taken away; asks whether there are tools."""

ALL = {
    "qwen3": QWEN3,
    "deepseek-r1": DEEPSEEK_R1,
    "glm-4": GLM4,
    "llama-3.2": LLAMA32,
    "gpt-oss": GPT_OSS,
    "granite": GRANITE,
    "mistral": MISTRAL,
    "zephyr": ZEPHYR,
}
