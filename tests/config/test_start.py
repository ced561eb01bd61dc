"""What a web process has done before it takes the first request."""

import subprocess
import sys
from pathlib import Path

from django.conf import settings

PROGRAM = """
import sys
import config.asgi
assert "chat.pages.views" in sys.modules, "the first customer would wait for the imports"
assert "inference.openai.views" in sys.modules
"""


def test_all_views_are_imported_before_the_first_request(db):
    root = Path(settings.BASE_DIR)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=False, cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
