"""How credits come in: orders and their payments, codes, bonuses, and automatic top-ups."""
