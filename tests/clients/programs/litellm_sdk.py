"""litellm, which routes to many services."""

import litellm
from told import KEY, MODEL, PROMPT, URL, tell

asked = {"api_base": URL, "api_key": KEY, "messages": [{"role": "user", "content": PROMPT}]}


def plain(model=MODEL, **options):
    answer = litellm.completion(model=f"openai/{model}", **asked, **options)
    return answer.choices[0].message.content


def streamed():
    chunks = litellm.completion(model=f"openai/{MODEL}", stream=True, **asked)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


tell(plain, streamed, lambda: plain("gpt-99"), lambda: plain(timeout=0.8, max_retries=5))
