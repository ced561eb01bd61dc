"""Adding models, getting their weights, describing them to API clients, and computing their memory."""
