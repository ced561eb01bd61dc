"""instructor, in plain chat: its answers in a schema need tools or JSON, which Tally refuses."""

import instructor
from openai import OpenAI
from told import KEY, MODEL, PROMPT, URL, tell


def make(**options):
    return instructor.from_openai(OpenAI(base_url=URL, api_key=KEY, **options), mode=instructor.Mode.MD_JSON)


client = make()
messages = [{"role": "user", "content": PROMPT}]


def plain(model=MODEL, of=client):
    answer = of.chat.completions.create(model=model, messages=messages, response_model=None)
    return answer.choices[0].message.content


def streamed():
    chunks = client.chat.completions.create(model=MODEL, messages=messages, response_model=None, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


tell(plain, streamed, lambda: plain("gpt-99"), lambda: plain(of=make(timeout=0.8, max_retries=5)))
