"""How often a long-lived process looks for cycles of garbage (docs/adr/0025 has what it saves)."""

import gc

# Python's own 700 objects are a few of our answers: it would look through all that is under way for each of them.
OBJECTS_BETWEEN_LOOKS = 20_000


def look_for_garbage_less_often() -> None:
    """Call it once all is loaded: what is there by then is never looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_LOOKS, *gc.get_threshold()[1:])
