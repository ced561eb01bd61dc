"""What makes a model fast on a CPU: 8-bit matrices, and compiled code between them."""
