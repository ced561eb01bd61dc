"""The admin as one place to work: what waits, the search for a customer, and a customer on one page."""
