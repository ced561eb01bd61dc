"""The stored results of the proofs of the ledger."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models.kept import Kept


class Proof(Kept):
    """One run of `verify_ledger`: what it checked, and what it found. Never changed.

    `after_entry` is the entry after which it began, null for a proof of everything. All entries up to `last_entry`
    existed and were checked; entries of transactions that were still running have greater numbers. `heads_hash` is the
    hash of the wallets' last hashes up to `last_entry` (`proofs.hash_heads`), empty if not everything was proven.
    """

    after_entry = models.BigIntegerField(null=True, blank=True)
    last_entry = models.BigIntegerField()
    entries_count = models.BigIntegerField()
    faults_count = models.PositiveIntegerField()
    first_faults = models.JSONField(default=list)
    heads_hash = models.CharField(max_length=64, blank=True, default="")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("proof")
        verbose_name_plural = _("proofs")
        indexes = [models.Index(name="billing_proof_started", fields=["-started_at"])]

    def __str__(self) -> str:
        return f"proof {self.pk}"
