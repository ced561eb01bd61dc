"""langchain-openai."""

from langchain_openai import ChatOpenAI
from told import KEY, MODEL, PROMPT, URL, tell


def client(model=MODEL, **options):
    return ChatOpenAI(base_url=URL, api_key=KEY, model=model, **options)


tell(
    lambda: client().invoke(PROMPT).content,
    lambda: "".join(chunk.content for chunk in client().stream(PROMPT)),
    lambda: client("gpt-99").invoke(PROMPT).content,
    lambda: client(timeout=0.8, max_retries=5).invoke(PROMPT).content,
)
