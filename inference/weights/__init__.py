"""The models: which there are, where their weights come from, and how much memory they need."""
