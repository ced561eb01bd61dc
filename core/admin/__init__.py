"""What the admin of every app is made of."""
