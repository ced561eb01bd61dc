"""The live server of the tests of OpenAI's API, for programs that are not ours."""

from tests.api.openai_fixtures import _live, engine, key_of, paid, server  # noqa: F401
