"""Examples of chat's part of the API, as its documentation shows them."""

from inference.api.examples import GENERATION, QUEUED

CONVERSATION = {
    "id": "c6a2d9a4-3f0b-4d4e-8f0c-7d0a3b1c2e55",
    "title": "Why is the sky blue?",
    "model": "gemma-3-1b",
    "tip_id": 42,
    "created_at": "2026-11-22T14:08:58.000000Z",
    "updated_at": "2026-11-22T14:09:00.000000Z",
    "pinned_at": None,
    "archived_at": None,
}
CONVERSATION_BODY = {"model": "gemma-3-1b", "title": "Physics"}
PROMPT = {
    "id": 41,
    "parent_id": None,
    "role": "user",
    "text": "Why is the sky blue?",
    "rating": None,
    "generation": None,
    "imported_from": "",
    "created_at": "2026-11-22T14:09:00.000000Z",
}
ANSWER = {
    "id": 42,
    "parent_id": 41,
    "role": "assistant",
    "text": GENERATION["text"],
    "rating": None,
    "generation": GENERATION,
    "imported_from": "",
    "created_at": "2026-11-22T14:09:00.000000Z",
}
MESSAGE_BODY = {"text": "Why is the sky blue?", "max_tokens": 200}
EXCHANGE = {"prompt": PROMPT, "answer": ANSWER | {"text": "", "generation": QUEUED}}
AGAIN = {"prompt": None, "answer": ANSWER | {"id": 43, "text": "", "generation": QUEUED}}
LINK = {
    "id": 7,
    "url": "https://tally.example.com/s/q6mWl0n5cT1f3b8zJxYtKpVdRgUoHsEaLwQiNyMkB4c/",
    "title": "Why is the sky blue?",
    "created_at": "2026-11-22T14:10:00.000000Z",
    "expires_at": "2026-11-29T14:10:00.000000Z",
    "revoked_at": None,
}
SAVED_PROMPT = {
    "id": 3,
    "name": "Patient teacher",
    "text": "You explain things to children, in short sentences.",
    "created_at": "2026-11-22T14:10:00.000000Z",
    "updated_at": "2026-11-22T14:10:00.000000Z",
}
SAVED_PROMPT_BODY = {"name": "Patient teacher", "text": "You explain things to children, in short sentences."}
EXPORT = {
    "format": "tally.conversation",
    "version": 1,
    "title": "Why is the sky blue?",
    "model": "gemma-3-1b",
    "system_prompt": "",
    "parameters": {},
    "created_at": "2026-11-22T14:08:58.000000+00:00",
    "updated_at": "2026-11-22T14:09:00.000000+00:00",
    "shown": 2,
    "messages": [
        {
            "number": 1,
            "follows": None,
            "role": "user",
            "text": "Why is the sky blue?",
            "created_at": "2026-11-22T14:09:00.000000+00:00",
        },
        {
            "number": 2,
            "follows": 1,
            "role": "assistant",
            "text": GENERATION["text"],
            "created_at": "2026-11-22T14:09:00.000000+00:00",
            "model": "Gemma 3 1B",
            "rating": None,
        },
    ],
}
