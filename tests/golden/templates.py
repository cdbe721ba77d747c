"""Renders chat templates written for these tests with transformers, into `tests/golden/templates.json`.

Made with Python 3.11, transformers 5.23.0, tokenizers 0.23, jinja2 3.1:

    pip install transformers==5.23.0 jinja2
    python tests/golden/templates.py

Each template uses a feature that published ones use. `apply_chat_template` is called with a generation prompt,
`enable_thinking=False` and `thinking=False`, on a day that is always 26 July 2024. Where the template takes no system message,
the conversation that it is given has it before the first user message, with an empty line between.
"""

import datetime
import json
import pathlib

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent


class Day(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 12, 0, 0)


chat_template_utils.datetime = Day

SYSTEM = {"role": "system", "content": "  Antworte kurz: „ja“ <oder> 'nein' & nichts sonst.\n"}
USER = {"role": "user", "content": "Is it <right>?\n- (A): yes\n- (B): 「いいえ」"}
ASSISTANT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nIf I must choose: (A"}
AGAIN = {"role": "user", "content": "And \"now\"? \\ 100%"}
CONVERSATIONS = [[USER], [SYSTEM, USER], [USER, ASSISTANT, AGAIN], [SYSTEM, USER, ASSISTANT, AGAIN]]

TEMPLATES = {
    "plain": "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "indented blocks": "{%- if tools %}\n  tools\n{%- endif %}\n{% for m in messages %}\n    {% if m.role == 'user' %}\n"
    "U {{ m.content | trim }}\n    {%- elif m.role == 'system' -%}\nS {{ m.content.strip() }}\n    {%- else +%}\n A\n    {% endif %}\n"
    "{% endfor -%}\n  {% if add_generation_prompt -%}\n  A: {%- endif %}\n\n",
    "list of templates": [
        {"name": "tool_use", "template": "not this one"},
        {"name": "default", "template": "{% for m in messages %}[{{ m.content }}]{% endfor %}"},
    ],
    "generation marks": "{% for m in messages %}{% if m.role == 'assistant' %}{%- generation -%}\n{{ m.content }}{{ eos_token }}"
    "\n{%- endgeneration -%}{% else %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}\n"
    "{% if add_generation_prompt %}{% generation %}{% endgeneration %}A{% endif %}",
    "json": "{{ messages | tojson }}\n{{ messages[0] | tojson(indent=2) }}\n{{ {'b': [1, 2.5, true, none], 'a': {}} | tojson }}"
    "\n{{ messages[0].content | tojson(ensure_ascii=true) }}\n{{ {'b': 1, 'a': []} | tojson(indent=4, sort_keys=true) }}"
    "\n{{ {'b': 1, 'a': [1]} | tojson(separators=(',', ':')) }}",
    "date": "{{ strftime_now('%d %b %Y') }} {{ strftime_now(\"%Y-%m-%d\") }} {{ strftime_now('%B %e, %A') }}"
    "{% if date_string is not defined %}{% set date_string = strftime_now('%d.%m.%y') %}{% endif %} {{ date_string }}"
    "{% for m in messages %}{{ m.content }}{% endfor %}",
    "no system role": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m['content'] | trim + '</turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}",
    "system dropped": "{% for m in messages if m.role in ['user', 'assistant'] %}{{ m.role[0] | upper }}: {{ m.content }} {% endfor %}",
    "default system": "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = 'You help.' %}{% set rest = messages %}{% endif %}<s>{{ system }}</s>"
    "{% for m in rest %}<{{ m.role }}>{{ m.content }}{% endfor %}",
    "thinking": "{% for m in messages %}{% set content = m.content %}{% if m.role == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}<{{ m.role }}>{{ content }}</>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}",
    "namespace backwards": "{% set ns = namespace(last=-1, seen=0) %}{% for m in messages[::-1] %}"
    "{% if ns.last < 0 and m.role == 'user' and m.content is string %}{% set ns.last = messages | length - 1 - loop.index0 %}{% endif %}"
    "{% set ns.seen = ns.seen + 1 %}{% endfor %}{{ ns.last }}/{{ ns.seen }}{% for i in range(messages | length - 1, -1, -1) %}"
    " {{ i }}{{ messages[i].role }}{% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}",
    "macros and controls": "{% macro turn(role, text, end='.') %}({{ role }}|{{ text | replace('\\n', ' ') }}{{ end }}){% endmacro %}"
    "{% for m in messages %}{% if loop.first and m.role == 'system' %}{{ turn('sys', m.content, end='!') }}{% continue %}{% endif %}"
    "{{ turn(m.role, m.content) }}{% if loop.index > 2 %}{% break %}{% endif %}{% if not loop.last %}, {% endif %}{% endfor %}",
    "python methods": "{% for m in messages %}{{ m.get('name', 'nobody') }} {{ m.role.upper() }} {{ m.content.startswith('Is') }}"
    " {{ m.content.split('\\n') | length }} {{ m.content.rstrip('?') | last }} {{ m.items() | list | length }}"
    "{% for key, value in m.items() %} {{ key }}={{ value | length }}{% endfor %}"
    " {{ m.content.replace('<', '[') | title }} {{ 'x' ~ loop.index ~ m.role.capitalize() }}"
    "{% if loop.previtem is defined %} after {{ loop.previtem.role }}{% endif %}\n{% endfor %}",
    "tests and filters": "{% for m in messages %}{{ m is mapping }}{{ m.content is string }}{{ m.content is iterable }}{{ m.tool_calls is defined }}"
    "{{ m.tool_calls is none }}{{ (m.tool_calls | default([])) | length }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
    "{{ messages | map(attribute='role') | join(',') }}{{ m.content | first }}{{ m.content | string | length }}{{ m.content[:4] }}{{ m.content[-3:] }}"
    "{{ none }}{{ true and m.content }}{{ '' or 'empty' }}{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 ** 3 }}\n{% endfor %}",
    "nothing is given": "{% if tools is iterable and tools | length > 0 %}tools{% endif %}{{ nowhere | length }}"
    "{{ none is iterable }}{{ messages is sequence }}{{ 'x' is sequence }}{{ messages[0] is sequence }}{{ 3 is sequence }}\r\n"
    "{% for m in messages %}\r\n{{ m.content }}{% endfor %}",
    "special tokens": "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token }}|{{ cls_token is defined }}|{{ messages[-1]['content'] }}"
    "{% for m in messages %}{{ m.content }}{% endfor %}",
}

tok = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "<pad>": 3}, unk_token="<unk>")),
    bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
)
record = []
for name, template in TEMPLATES.items():
    listed = isinstance(template, list)
    tok.chat_template = {entry["name"]: entry["template"] for entry in template} if listed else template
    for messages in CONVERSATIONS:
        given = messages
        if name in ("no system role", "system dropped") and messages[0] is SYSTEM:
            first = {"role": "user", "content": SYSTEM["content"] + "\n\n" + messages[1]["content"]}
            given = [first, *messages[2:]]
        text = tok.apply_chat_template(
            given, tokenize=False, add_generation_prompt=True, enable_thinking=False, thinking=False
        )
        record.append({"name": name, "template": template, "messages": messages, "text": text})
(HERE / "templates.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
print(len(record), "renderings of", len(TEMPLATES), "templates")
