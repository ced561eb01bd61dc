"""What customers read about their credits: history, statements, usage."""
