"""The live server of the tests of OpenAI's API, for programs that are not ours."""

from tests.support.openai_clients import _live, engine, key_of, paid, server  # noqa: F401
