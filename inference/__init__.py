"""Answers: the model catalogue, the metered generation, the engine, GPU tasks and the token relay."""
