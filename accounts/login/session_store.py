"""The sessions of the pages: Django's own in the database, whose earlier name is good for a moment after a change.

Django gives a session another name when somebody logs in, and when it was signed with an earlier SECRET_KEY. A browser
asks for several things at once. Without that moment, the first answer of the new process would change the name, and the
other requests, on their way with the earlier one, would log their customer out: their answers delete the cookie.
"""

from datetime import timedelta

from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.utils import timezone

GRACE = timedelta(seconds=60)


class SessionStore(DatabaseSessionStore):
    """Django requires this name."""

    def cycle_key(self) -> None:
        """Give the session a new name. The row of the earlier name ends after GRACE, and not at once.

        Before a log-in it has no user, and after a change of the password Django refuses it. But after a replacement of
        SECRET_KEY it is a log-in: whoever logs out within GRACE is out under the new name alone until it is over.
        """
        content, earlier = dict(self.items()), self.session_key
        self.create()
        self._session_cache = content
        end = timezone.now() + GRACE
        self.model.objects.filter(session_key=earlier, expire_date__gt=end).update(expire_date=end)
