"""The proof of the ledger: what must add up, where each entry comes from, and the proofs that were made."""
