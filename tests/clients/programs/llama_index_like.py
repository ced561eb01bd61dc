"""llama-index, through its integration for services like OpenAI's."""

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from told import KEY, MODEL, PROMPT, URL, tell

messages = [ChatMessage(role="user", content=PROMPT)]


def client(model=MODEL, **options):
    return OpenAILike(model=model, api_base=URL, api_key=KEY, is_chat_model=True, context_window=4096, **options)


tell(
    lambda: client().chat(messages).message.content,
    lambda: "".join(chunk.delta or "" for chunk in client().stream_chat(messages)),
    lambda: client("gpt-99", max_retries=0).chat(messages).message.content,
    lambda: client(timeout=0.8, max_retries=5).chat(messages).message.content,
)
