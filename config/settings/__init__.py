"""Settings, a module an environment."""
