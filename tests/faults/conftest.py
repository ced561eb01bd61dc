"""The fault tests break models too: naming their fixtures here makes them known to pytest."""

from tests.faults.workers import start  # noqa: F401  fixtures
from tests.inference.conftest import demo_folder, tiny_models, work  # noqa: F401
