"""The proof of the ledger: the sums that must agree, the origin of each entry, and the stored results."""
