"""How credits come in: orders and their payments, codes, bonuses, and what is bought automatically."""
