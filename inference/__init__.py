"""Everything that produces answers: the model catalogue, generations and their prices, engines, GPU workers, relay."""
