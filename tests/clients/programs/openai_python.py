"""The official client."""

from typing import Any

from openai import OpenAI
from told import KEY, MODEL, PROMPT, URL, tell

client = OpenAI(base_url=URL, api_key=KEY)
patient = client.with_options(timeout=0.8, max_retries=5)
messages: Any = [{"role": "user", "content": PROMPT}]


def plain(of=client, model=MODEL):
    return of.chat.completions.create(model=model, messages=messages).choices[0].message.content


def streamed():
    chunks = client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


tell(plain, streamed, lambda: plain(model="gpt-99"), lambda: plain(patient))
