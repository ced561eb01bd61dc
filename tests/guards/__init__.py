"""The guards against defects that billing systems are known for, and for each the test that must fail without it.

`tests/test_guards.py` takes them away one at a time, in a copy of the project (`-m thorough`).
"""

from tests.guards.answer_cache import ANSWER_CACHE
from tests.guards.api import API
from tests.guards.guard import Guard
from tests.guards.payments import PAYMENTS
from tests.guards.people import PEOPLE
from tests.guards.proxy import PROXY
from tests.guards.serving import SERVING
from tests.guards.spending import SPENDING
from tests.guards.walls import OF_WALLS

__all__ = ["GUARDS", "Guard"]

GUARDS = [*SPENDING, *OF_WALLS, *ANSWER_CACHE, *PAYMENTS, *PEOPLE, *API, *SERVING, *PROXY]
