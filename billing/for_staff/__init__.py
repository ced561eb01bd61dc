"""What staff read about a customer's money, and what waits for them. Nothing here changes anything."""
