"""The fault tests break models too: naming their fixtures here makes them known to pytest."""

from tests.inference.conftest import demo_folder, tiny_models  # noqa: F401
