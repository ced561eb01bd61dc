"""Makes models fast on a CPU: 8-bit matrices, and compiled kernels for the operations between them."""
