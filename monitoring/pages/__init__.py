"""The page that tells everybody how the models do."""
