"""Text as people paste it, and what is shown of it."""

from tests.api.bad_input import PAGE, REST, TALK, post  # noqa: F401  a fixture

PASTED = "\x1b[1m    def f():\r\n\t\x0creturn '\ufffd'\x00\x85\x7f\r"
SHOWN = "[1m    def f():\n\treturn '\ufffd'"
