"""What runs in Tally's images before and beside its processes. The standard library alone is used."""
