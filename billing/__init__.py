"""Credits: wallets, the ledger, holds, prices. Only `billing.ledger` writes credits."""
