"""When beat starts which task. `base` imports it."""

from celery.schedules import crontab

from config.settings.inference import WORKER_SILENT_SECONDS

CELERY_BEAT_SCHEDULE = {
    "sweep-generations": {
        "task": "inference.sweep_generations",
        "schedule": WORKER_SILENT_SECONDS / 2,  # shorter than a gap in `inference.heartbeats`
        "options": {"expires": WORKER_SILENT_SECONDS / 2},
    },
    "expire-holds": {"task": "billing.expire_holds", "schedule": 60.0, "options": {"expires": 60}},
    "send-refunds": {"task": "billing.send_approved_refunds", "schedule": 60.0, "options": {"expires": 60}},
    "lapse-requests": {"task": "billing.lapse_requests", "schedule": 600.0, "options": {"expires": 600}},
    "expire-grants": {"task": "billing.expire_grants", "schedule": crontab(minute=10), "options": {"expires": 3600}},
    "sum-usage": {"task": "billing.sum_usage", "schedule": 600.0, "options": {"expires": 600}},
    "verify-what-is-new": {
        "task": "billing.verify_what_is_new",
        "schedule": crontab(minute=30),
        "options": {"expires": 3600},
    },
    "verify-ledger": {
        "task": "billing.verify_ledger",
        "schedule": crontab(hour=2, minute=10),
        "options": {"expires": 12 * 3600},
    },
    "review-spending": {"task": "billing.sweep_spending", "schedule": 180.0, "options": {"expires": 180}},
    "queue-due-mails": {"task": "accounts.queue_due_mails", "schedule": 60.0, "options": {"expires": 60}},
    "give-up-old-mails": {"task": "accounts.give_up_old_mails", "schedule": 3600.0, "options": {"expires": 3600}},
    "queue-archives": {"task": "accounts.queue_archives", "schedule": 300.0, "options": {"expires": 300}},
    "close-accounts": {"task": "billing.close_accounts", "schedule": crontab(minute=40), "options": {"expires": 3600}},
    "reconcile-payments": {
        "task": "billing.reconcile_payments",
        "schedule": crontab(hour=4, minute=20),
        "options": {"expires": 3600},
    },
    "purge-accounts": {
        "task": "accounts.purge",
        "schedule": crontab(hour=3, minute=40),
        "options": {"expires": 3600},
    },
    "purge-billing": {
        "task": "billing.purge",
        "schedule": crontab(hour=3, minute=50),
        "options": {"expires": 3600},
    },
    "erase-deleted-conversations": {"task": "chat.erase_deleted", "schedule": 600.0, "options": {"expires": 600}},
    "add-up-totals": {"task": "monitoring.add_up", "schedule": 10.0, "options": {"expires": 10}},
    "mail-report": {"task": "monitoring.mail_report", "schedule": crontab(minute=25), "options": {"expires": 3600}},
    "apply-rules": {"task": "monitoring.go_round", "schedule": 30.0, "options": {"expires": 30}},
    "deliver-alerts": {"task": "monitoring.deliver_alerts", "schedule": 15.0, "options": {"expires": 15}},
    "look-at-certificate": {
        "task": "monitoring.look_at_certificate",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "thin-samples": {"task": "monitoring.thin_samples", "schedule": 3600.0, "options": {"expires": 3600}},
}
