"""When an alert opens, and whom it is told. `base` imports them; docs/operations.md says what each alert means."""

import environ

env = environ.FileAwareEnv()

# Limits. `manage.py check` and the start of every process refuse those that contradict each other (monitoring.alerts).
ALERT_PROOF_NEW_HOURS = env.float("ALERT_PROOF_NEW_HOURS", default=3)  # since the last proof of what is new
ALERT_PROOF_EVERYTHING_HOURS = env.float("ALERT_PROOF_EVERYTHING_HOURS", default=30)
ALERT_PAYMENT_MINUTES = env.float("ALERT_PAYMENT_MINUTES", default=15)  # that an event of a payment may stay open
ALERT_WORKER_SILENT_SECONDS = env.float("ALERT_WORKER_SILENT_SECONDS", default=60)
ALERT_BEAT_SILENT_SECONDS = env.float("ALERT_BEAT_SILENT_SECONDS", default=120)
ALERT_QUEUE_SECONDS = env.float("ALERT_QUEUE_SECONDS", default=60)  # that the first of a queue waits
ALERT_FAILED_PERCENT = env.float("ALERT_FAILED_PERCENT", default=5)  # of the answers of five minutes
ALERT_FIRST_TOKEN_SECONDS = env.float("ALERT_FIRST_TOKEN_SECONDS", default=5)  # 95 of 100 answers begin before
ALERT_ANSWER_SECONDS = env.float("ALERT_ANSWER_SECONDS", default=60)  # 95 of 100 answers end before
ALERT_MEMORY_PERCENT = env.float("ALERT_MEMORY_PERCENT", default=90)  # of a machine's memory
ALERT_DISK_PERCENT = env.float("ALERT_DISK_PERCENT", default=90)  # of each of ALERT_DISK_PATHS
ALERT_DISK_PATHS: list[str] = env.list("ALERT_DISK_PATHS", default=[])  # empty: the disk on which Tally lies
ALERT_GPU_CELSIUS = env.float("ALERT_GPU_CELSIUS", default=85)
ALERT_CONNECTIONS_PERCENT = env.float("ALERT_CONNECTIONS_PERCENT", default=90)  # of those that PostgreSQL gives Tally
ALERT_CERTIFICATE_DAYS = env.float("ALERT_CERTIFICATE_DAYS", default=14)  # before the end of PUBLIC_URL's certificate
ALERT_BACKUP_HOURS = env.float("ALERT_BACKUP_HOURS", default=26)  # since `manage.py note_backup`; 0: no such alert

# An alert closes when its reason has been away for so long, and so does not come and go with every small change.
ALERT_CLOSE_SECONDS = env.float("ALERT_CLOSE_SECONDS", default=300)
ALERT_REMIND_SECONDS = env.float("ALERT_REMIND_SECONDS", default=600)  # a critical one that nobody took is told again

# Whom it is told. Without addresses, everybody with the role operator.
ALERT_EMAILS: list[str] = env.list("ALERT_EMAILS", default=[])
ALERT_WEBHOOK_URL = env.str("ALERT_WEBHOOK_URL", default="").strip()  # of a chat room or a pager; empty for none
ALERT_WEBHOOK_SECRET = env.str("ALERT_WEBHOOK_SECRET", default="").strip()  # whsec_ and at least 24 bytes in base64
# Hosts that the webhook may call although their addresses are not public, or without https.
ALERT_WEBHOOK_HOSTS: list[str] = env.list("ALERT_WEBHOOK_HOSTS", default=[])

# Whether web processes and workers say that they live, and see whether beat does.
ALERT_WATCH = env.bool("ALERT_WATCH", default=True)
