"""pydantic-ai, an agent without tools."""

import asyncio

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from told import KEY, MODEL, PROMPT, URL, tell


def agent(model=MODEL, **options):
    client = AsyncOpenAI(base_url=URL, api_key=KEY, **options)
    return Agent(OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client)))


async def stream():
    async with agent().run_stream(PROMPT) as run:
        return "".join([piece async for piece in run.stream_text(delta=True)])


tell(
    lambda: agent().run_sync(PROMPT).output,
    lambda: asyncio.run(stream()),
    lambda: agent("gpt-99").run_sync(PROMPT).output,
    lambda: agent(timeout=0.8, max_retries=5).run_sync(PROMPT).output,
)
