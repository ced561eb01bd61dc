"""What staff may do, and what they do to users."""
