"""The chat template for a model that comes without one (`model.chat_template: plain`)."""

PLAIN = """\
{#- Every turn ends with the end token, so text in a message can imitate a heading, but never the token before a real one. -#}
{%- set system = namespace(text='', shown=false) -%}
{%- if messages[0].role in ('system', 'developer') -%}{%- set system.text = messages[0].content -%}{%- endif -%}
{%- if tools -%}
    {%- set system.text = system.text ~ ('\\n\\n' if system.text else '') -%}
    {%- set system.text = system.text ~ 'Tools, called by writing <tool_call>{"name": ..., "arguments": ...}</tool_call>:' -%}
    {%- for tool in tools -%}
        {%- set system.text = system.text ~ '\\n' ~ ((tool.function if tool.function is defined else tool) | tojson) -%}
    {%- endfor -%}
{%- endif -%}
{%- if system.text -%}{{- 'System: ' ~ system.text ~ eos_token ~ '\\n' -}}{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {{- 'Assistant:' -}}
        {%- generation -%}
            {%- if message.reasoning_content -%}{{- ' <think>' ~ message.reasoning_content ~ '</think>' -}}{%- endif -%}
            {%- if message.content -%}{{- ' ' ~ message.content -}}{%- endif -%}
            {%- for call in message.tool_calls or [] -%}
                {%- set function = call.function if call.function is defined else call -%}
                {{- ' <tool_call>' ~ ({'name': function.name, 'arguments': function.arguments} | tojson) ~ '</tool_call>' -}}
            {%- endfor -%}
            {{- eos_token -}}
        {%- endgeneration -%}
        {{- '\\n' -}}
    {%- elif not (loop.first and message.role in ('system', 'developer')) -%}
        {{- message.role | capitalize ~ ': ' ~ message.content ~ eos_token ~ '\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}
"""
"""Jinja. Turns like `User: Hi<eos>\\nAssistant: Hello<eos>\\n`: words that any pre-trained model has read, and its own end token."""
