"""What each program is told, and how it tells what came of it."""

import json
import os
import sys

URL, KEY, MODEL = (os.environ[name] for name in ("TALLY_V1", "TALLY_KEY", "TALLY_MODEL"))
PROMPT = "Tell me of a fox."


def tell(plain, streamed, wrong, patient=None):
    """Run what is asked for, and print its text or its error as JSON."""
    asked = {"plain": plain, "streamed": streamed, "wrong": wrong, "patient": patient}[sys.argv[1]]
    try:
        found = {"text": asked()}
    except Exception as error:  # noqa: BLE001  whatever a client raises is told
        found = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(found))
