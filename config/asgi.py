"""The ASGI application that gunicorn's uvicorn workers serve."""

import logging
import os
import threading
import warnings

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")

# WhiteNoise returns files as synchronous iterators. Django serves these from a thread, and warns about it.
warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators")

django.setup(set_prefix=False)

from django.urls import get_resolver  # noqa: E402  these imports need the settings

from core.garbage import look_for_garbage_less_often  # noqa: E402
from core.postgresql.roles import refuse_to_start_with_might  # noqa: E402
from core.redis_users import refuse_mighty_users  # noqa: E402
from core.serving.handlers import Dispatcher  # noqa: E402
from monitoring.alerts.checks import refuse_contradictions  # noqa: E402
from monitoring.alerts.watching import watch  # noqa: E402
from monitoring.prometheus.access import is_switched_on  # noqa: E402
from monitoring.prometheus.requests import measure_requests  # noqa: E402

refuse_contradictions()
refuse_mighty_users()
refuse_to_start_with_might()
if is_switched_on():
    measure_requests()
application = Dispatcher()
_ = get_resolver().url_patterns  # imports all views: the first customer would wait half a second for that


def _warm_up() -> None:
    """Load the tokenizers while the first requests are already served."""
    from django.db import DatabaseError, connection

    from inference.prompting.prompts import warm_up

    try:
        warm_up()
    except DatabaseError as error:
        logging.getLogger(__name__).warning("tokenizers load with the first prompt instead: %s", error)
    finally:
        connection.close()
    look_for_garbage_less_often()


threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()
watch(is_worker=False)
