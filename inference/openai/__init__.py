"""`/v1/`: OpenAI's API, as its clients know it."""
