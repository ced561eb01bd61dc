"""Examples of inference's part of the API, as its documentation shows them."""

MODEL = {
    "key": "gemma-3-1b",
    "name": "Gemma 3 1B",
    "description": "Fast and cheap",
    "context_tokens": 32_768,
    "max_completion_tokens": 8_192,
    "prompt_format": "chat_template",
    "default_parameters": {"temperature": 1.0, "top_p": 0.95, "top_k": 64, "min_p": 0.0, "repetition_penalty": 1.0},
    "is_available": True,
    "unavailable_reason": "",
    "prompt_microcredits_per_token": 100,
    "completion_microcredits_per_token": 200,
}
ESTIMATE_BODY = {"model": "gemma-3-1b", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
ESTIMATE = {
    "prompt_tokens": 15,
    "max_completion_tokens": 512,
    "usual_microcredits": 41_500,
    "usual_credits": "0.041500",
    "most_microcredits": 103_900,
    "most_credits": "0.103900",
}
GENERATION_BODY = {
    "model": "gemma-3-1b",
    "messages": [
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
    ],
    "max_tokens": 200,
    "temperature": 0.7,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "stop": ["\n\n"],
}
GENERATION = {
    "id": "0b8f1d1e-7a4c-4f6e-9a53-2d1c6b3f9e10",
    "model": "gemma-3-1b",
    "state": "completed",
    "text": "Air scatters blue light more than red.",
    "error": "",
    "finish_reason": "stop",
    "prompt_tokens": 21,
    "completion_tokens": 9,
    "max_completion_tokens": 200,
    "is_limited_by_balance": False,
    "limited_by": "",
    "temperature": 0.7,
    "top_p": 0.95,
    "top_k": 64,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "seed": 1_804_289_383,
    "stop": ["\n\n"],
    "end_user": "",
    "is_from_cache": False,
    "hold": "5c9d2c55-0d51-4f0b-8c86-0f3bb1f6a7f2",
    "charged_microcredits": 3_900,
    "charged_credits": "0.003900",
    "created_at": "2026-11-22T14:09:00.000000Z",
    "started_at": "2026-11-22T14:09:00.120000Z",
    "stop_requested_at": None,
    "ended_at": "2026-11-22T14:09:00.810000Z",
}
QUEUED = GENERATION | {
    "state": "queued",
    "text": "",
    "finish_reason": "",
    "completion_tokens": 0,
    "charged_microcredits": None,
    "charged_credits": None,
    "started_at": None,
    "ended_at": None,
}
STOPPED = GENERATION | {
    "state": "stopped",
    "text": "Air scatters",
    "completion_tokens": 2,
    "charged_microcredits": 2_500,
    "charged_credits": "0.002500",
    "stop_requested_at": "2026-11-22T14:09:00.400000Z",
}
EVENT = {"event": "text", "id": "1795356540120-0", "data": '{"text": "Air scatters", "completion_tokens": 2}'}
