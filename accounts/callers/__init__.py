"""Who asks, through the API or a page, and how often they may: what the views of every app are built on."""
