"""Chat templates in the manner of the models that are offered, and conversations to try them with."""

GEMMA = (
    "{{ bos_token }}"
    "{%- if messages[0]['role'] == 'system' -%}"
    "{%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}{%- set rest = messages[1:] -%}"
    "{%- else -%}{%- set first_user_prefix = '' -%}{%- set rest = messages -%}{%- endif -%}"
    "{%- for message in rest -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif -%}"
    "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
    "{{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else '') }}"
    "{%- if message['content'] is string -%}{{ message['content'] | trim }}{%- endif -%}"
    "{{ '<end_of_turn>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYSTEM_IN_LAST_TURN = (
    "{{ bos_token }}{% set system = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{% for message in messages if message['role'] != 'system' %}{% if message['role'] == 'user' %}[INST] "
    "{% if loop.last and system %}{{ system + '\n\n' }}{% endif %}{{ message['content'] }}[/INST]"
    "{% else %} {{ message['content'] | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)
NO_SYSTEM = CHATML.replace(
    "{% for message in messages %}",
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}",
    1,
)
SYSTEM_DROPPED = CHATML.replace("in messages %}", "in messages if message['role'] != 'system' %}", 1)

HOSTILE = {
    "an endless loop": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{{ messages }}",
        "did not end",
    ),
    "an attribute of Python": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "may not touch"),
    "the globals of a function": ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "may not touch"),
    "a change of what it is given": ("{{ messages.append(messages[0]) }}", "may not touch"),
    "ten megabytes": ("{{ 'x' * 10000000 }}", "more than 1,000,000 characters"),
    "more than memory": ("{{ 'x' * 10000000000 }}", "too much memory"),
    "text that doubles": (
        "{% set ns = namespace(s='xxxx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "too much memory",
    ),
    "a recursion": ("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}", "RecursionError"),
    "a syntax error": ("{% if ", "error in line 1"),
    "another file": ("{% include '/etc/passwd' %}", "It fails"),
    "no user turn": ("{{ bos_token }}Say something.", "leaves out"),
    "a turn twice": ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "repeats"),
    "a refusal of everything": ("{{ raise_exception('Not today') }}", "refuses a plain conversation: Not today"),
}
