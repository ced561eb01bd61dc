"""The admin's site and its own pages. It registers no model: `site` is what models are registered with."""
