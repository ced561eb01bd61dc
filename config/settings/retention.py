"""Settings of how long old data is kept before it is deleted. `base` imports them."""

import environ

from config.settings.demands import wrong

env = environ.FileAwareEnv()

KEEP_ENDED_LOGINS_DAYS = env.int("KEEP_ENDED_LOGINS_DAYS", default=30)  # of the API, after their end
KEEP_MAILS_DAYS = env.int("KEEP_MAILS_DAYS", default=30)  # recipients and subject; the text goes earlier
KEEP_EVENT_BODIES_DAYS = env.int("KEEP_EVENT_BODIES_DAYS", default=90)  # of payment providers
KEEP_READ_NOTICES_DAYS = env.int("KEEP_READ_NOTICES_DAYS", default=90)  # after they were read
CONVERSATION_UNDO_HOURS = env.int("CONVERSATION_UNDO_HOURS", default=24)  # then a deleted one is erased
KEEP_NOTICES_DAYS = env.int("KEEP_NOTICES_DAYS", default=400)  # read or not

_LEAST = {
    "KEEP_ENDED_LOGINS_DAYS": 0,
    "KEEP_MAILS_DAYS": 2,  # a mail is tried for a day at most
    "KEEP_EVENT_BODIES_DAYS": 7,  # Stripe repeats an event for three days
    "KEEP_READ_NOTICES_DAYS": 0,
    "KEEP_NOTICES_DAYS": 7,  # so that customers can read them
    "CONVERSATION_UNDO_HOURS": 1,
}
for _name, _least in _LEAST.items():
    if vars()[_name] < _least:
        wrong(f"{_name} is at least {_least}.")
