"""Credits: wallets, the ledger, holds, prices. `ledger.py` is the only writer."""
