"""How each kind of model is prompted: from what people said to the token ids that a model reads, without torch."""
