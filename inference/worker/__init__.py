"""What runs in a GPU worker process."""
