"""The chat template for a model that comes without one (`model.chat_template: plain`)."""

PLAIN = """\
{#- Every turn ends with the end token, so text in a message can imitate a heading, but never the token before a real one. -#}
{%- set system = namespace(text='') -%}
{%- if messages[0].role in ('system', 'developer') -%}{%- set system.text = messages[0].content -%}{%- endif -%}
{%- if tools -%}
    {%- set system.text = system.text ~ ('\\n\\n' if system.text else '') -%}
    {%- set system.text = system.text ~ 'Tools, called by writing <tool_call>{"name": ..., "arguments": ...}</tool_call>:' -%}
    {%- for tool in tools -%}
        {%- set system.text = system.text ~ '\\n' ~ ((tool.function if tool.function is defined else tool) | tojson) -%}
    {%- endfor -%}
{%- endif -%}
{%- if system.text -%}{{- 'System:\\n' ~ system.text ~ eos_token ~ '\\n' -}}{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {{- 'Assistant:\\n' -}}
        {%- generation -%}
            {%- if message.reasoning_content -%}{{- '<think>' ~ message.reasoning_content ~ '</think>\\n' -}}{%- endif -%}
            {{- message.content | trim -}}
            {%- for call in message.tool_calls or [] -%}
                {%- set function = call.function if call.function is defined else call -%}
                {{- '\\n' if message.content or not loop.first -}}
                {{- '<tool_call>' ~ ({'name': function.name, 'arguments': function.arguments} | tojson) ~ '</tool_call>' -}}
            {%- endfor -%}
            {{- eos_token -}}
        {%- endgeneration -%}
        {{- '\\n' -}}
    {%- elif not (loop.first and message.role in ('system', 'developer')) -%}
        {{- message.role | capitalize ~ ':\\n' ~ message.content ~ eos_token ~ '\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'Assistant:\\n' -}}{%- endif -%}
"""
"""Jinja. Each turn is a heading, a line break, the text and the model's own end token. The line break keeps prompt and answer apart
where it can: a vocabulary without word boundaries may have a token that reaches from one into the other, and such rows are named."""
