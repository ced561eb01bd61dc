"""How often a long-lived process runs Python's cyclic garbage collector (docs/adr/0025 says what this saves)."""

import gc

# Python's default is 700 new objects, which a few answers make: each collection would scan all answers under way.
OBJECTS_BETWEEN_LOOKS = 20_000


def look_for_garbage_less_often() -> None:
    """Make collections rarer. Call this after loading: the objects that exist by then are never scanned again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_LOOKS, *gc.get_threshold()[1:])
