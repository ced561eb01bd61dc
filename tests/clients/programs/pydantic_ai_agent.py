"""pydantic-ai, an agent without tools."""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from told import KEY, MODEL, PROMPT, URL, tell


def agent(model=MODEL):
    return Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=URL, api_key=KEY)))


async def stream():
    async with agent().run_stream(PROMPT) as run:
        return "".join([piece async for piece in run.stream_text(delta=True)])


tell(
    lambda: agent().run_sync(PROMPT).output,
    lambda: asyncio.run(stream()),
    lambda: agent("gpt-99").run_sync(PROMPT).output,
)
