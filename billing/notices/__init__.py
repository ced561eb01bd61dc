"""What customers are told about their money."""
