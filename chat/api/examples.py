"""Examples of chat's part of the API, as its documentation shows them."""

from inference.api.examples import GENERATION, QUEUED

CONVERSATION = {
    "id": "c6a2d9a4-3f0b-4d4e-8f0c-7d0a3b1c2e55",
    "title": "Why is the sky blue?",
    "model": "gemma-3-1b",
    "tip_id": 42,
    "created_at": "2026-11-22T14:08:58.000000Z",
    "updated_at": "2026-11-22T14:09:00.000000Z",
}
CONVERSATION_BODY = {"model": "gemma-3-1b", "title": "Physics"}
PROMPT = {
    "id": 41,
    "parent_id": None,
    "role": "user",
    "text": "Why is the sky blue?",
    "rating": None,
    "generation": None,
    "created_at": "2026-11-22T14:09:00.000000Z",
}
ANSWER = {
    "id": 42,
    "parent_id": 41,
    "role": "assistant",
    "text": GENERATION["text"],
    "rating": None,
    "generation": GENERATION,
    "created_at": "2026-11-22T14:09:00.000000Z",
}
MESSAGE_BODY = {"text": "Why is the sky blue?", "max_tokens": 200}
EXCHANGE = {"prompt": PROMPT, "answer": ANSWER | {"text": "", "generation": QUEUED}}
AGAIN = {"prompt": None, "answer": ANSWER | {"id": 43, "text": "", "generation": QUEUED}}
