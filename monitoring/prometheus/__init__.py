"""`/metrics` for Prometheus: what the database and Redis tell at each scrape, and the requests of web processes."""
