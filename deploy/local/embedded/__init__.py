"""PostgreSQL and Redis of one's own, on loopback: where their programs come from, and who may log in."""
