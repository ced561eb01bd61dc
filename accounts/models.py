"""Users, their API keys and log-ins through the API, the audit log, and the mails that wait to be sent.

People are known by their e-mail address; there is no user name.
"""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _


def clean_address(email: str) -> str:
    """Return the address in lower case, as it is stored. Raises ValidationError for an invalid one."""
    field: models.EmailField[str, str] = User._meta.get_field("email")
    address = str(field.clean(email.lower(), None))
    if address.count("@") != 1:  # '"a@b"@example.com' is valid by the standard, but not for the checks of this project
        raise ValidationError(_("Enter a valid email address."), code="invalid")
    return address


class UserManager(BaseUserManager["User"]):
    """Creates users from an e-mail address, which is stored in lower case."""

    use_in_migrations = True

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Save a user. Raises ValidationError for an invalid e-mail address, IntegrityError for one that is taken."""
        user = self.model(email=clean_address(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Save a user who may do everything in the admin."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class Look(models.TextChoices):
    """The colours of the pages."""

    SYSTEM = "system", _("System")
    LIGHT = "light", _("Light")
    DARK = "dark", _("Dark")


class User(AbstractUser):
    """A customer, a member of staff or an operator.

    From the moment that a user asks to delete the account until `closes_at`, it can be kept. Meanwhile keys and tokens
    open nothing. `gives_up_microcredits` are the credits that the user agreed to give up.
    """

    username = None  # type: ignore[assignment]
    email = models.EmailField(_("e-mail address"), unique=True)
    login_epoch = models.PositiveIntegerField(default=0, editable=False)
    language = models.CharField(_("language"), max_length=10, blank=True, default="", db_default="")
    time_zone = models.CharField(_("time zone"), max_length=64, default="UTC", db_default="UTC")
    closes_at = models.DateTimeField(null=True, blank=True, editable=False)
    gives_up_microcredits = models.BigIntegerField(null=True, blank=True, editable=False)
    look = models.CharField(_("look"), max_length=10, choices=Look.choices, default=Look.SYSTEM, db_default=Look.SYSTEM)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        permissions = [("suspend_user", _("Can suspend users, restore them and end their log-ins"))]
        constraints = [
            models.UniqueConstraint(Lower("email"), name="accounts_user_email_is_unique_in_any_case"),
            models.CheckConstraint(name="accounts_user_email_has_an_at", condition=Q(email__regex="^[^@]+@[^@]+$")),
            models.CheckConstraint(name="accounts_user_look_exists", condition=Q(look__in=Look.values)),
        ]
        indexes = [
            models.Index(name="accounts_user_latest", fields=["-date_joined", "-id"]),
            models.Index(name="accounts_user_inactive", fields=["-date_joined", "-id"], condition=Q(is_active=False)),
            models.Index(name="accounts_user_staff", fields=["-date_joined", "-id"], condition=Q(is_staff=True)),
            models.Index(name="accounts_user_bosses", fields=["-date_joined", "-id"], condition=Q(is_superuser=True)),
            models.Index(name="accounts_user_first_name", fields=["first_name"], opclasses=["varchar_pattern_ops"]),
            models.Index(name="accounts_user_last_name", fields=["last_name"], opclasses=["varchar_pattern_ops"]),
        ]

    def __str__(self) -> str:
        return self.email

    def _get_session_auth_hash(self, secret: Any = None) -> str:
        """Django's keyed hash of the password, which every session contains.

        It also covers `login_epoch`. A change of the password or of `login_epoch` ends all of the user's sessions.
        """
        if not self.login_epoch:
            return str(super()._get_session_auth_hash(secret=secret))  # type: ignore[misc]
        salt = "accounts.models.User.get_session_auth_hash"
        return salted_hmac(salt, f"{self.password}:{self.login_epoch}", secret=secret, algorithm="sha256").hexdigest()


class AuditEvent(models.Model):
    """One action on a user's money or account. Append-only: the database refuses to change or delete a row.

    `before` and `after` are fields that changed, `object_name` is what it was about ("refund 7"), `details` has all.
    """

    actor = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", verbose_name=_("who"))
    action = models.CharField(_("what"), max_length=60)
    subject = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("whose")
    )
    details = models.JSONField(default=dict)
    before = models.JSONField(_("before"), default=dict, db_default={})
    after = models.JSONField(_("after"), default=dict, db_default={})
    reason = models.TextField(_("why"), blank=True, default="", db_default="")
    object_name = models.CharField(_("object"), max_length=120, blank=True, default="", db_default="")
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    request_id = models.CharField(_("request"), max_length=64, blank=True, default="", db_default="")
    created_at = models.DateTimeField(_("when"), auto_now_add=True)

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        indexes = [
            models.Index(name="accounts_audit_of_subject", fields=["subject", "-created_at"]),
            models.Index(name="accounts_audit_of_actor", fields=["actor", "-created_at"]),
            models.Index(name="accounts_audit_of_kind", fields=["action", "-created_at"]),
            models.Index(name="accounts_audit_by_time", fields=["-created_at", "-id"]),
            models.Index(name="accounts_audit_of_object", fields=["object_name"], condition=~Q(object_name="")),
            models.Index(name="accounts_audit_of_request", fields=["request_id"], condition=~Q(request_id="")),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_id}"


class Scope(models.TextChoices):
    """What an API key may do."""

    CHAT = "chat", _("ask models and keep conversations")
    BILLING_READ = "billing:read", _("read balance, history and payments")
    BILLING_WRITE = "billing:write", _("order credits and redeem codes")
    USAGE_READ = "usage:read", _("read usage")


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Queries for API keys."""

    def for_user(self, user: Any) -> "ApiKeyQuerySet":
        """The keys of this user, the latest first."""
        return self.filter(user=user).order_by("-pk")

    def live(self) -> "ApiKeyQuerySet":
        """The keys that are neither revoked nor expired."""
        return self.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now()), revoked_at__isnull=True)


class ApiKey(models.Model):
    """A secret that a program sends instead of a log-in: `tly_<prefix>_<secret>`, of which only a hash is kept.

    The secret has 256 random bits, so a plain SHA-256 cannot be reversed and a slow hash is not needed. After a
    rotation, the previous secret also works until `replaced_until`; the key's name, cap and spending stay the same.
    `allowed_models` are the catalogue keys of the models that it may ask; empty for all. `form_id` names the page on
    which it was made: a form that is sent twice makes one key.
    """

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_keys")
    name = models.CharField(_("name"), max_length=60)
    prefix = models.CharField(max_length=12, unique=True)
    secret_hash = models.CharField(max_length=64)
    replaced_prefix = models.CharField(max_length=12, unique=True, null=True, blank=True, editable=False)
    replaced_hash = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    replaced_until = models.DateTimeField(null=True, blank=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope.choices))
    allowed_models = ArrayField(models.SlugField(max_length=64), default=list, blank=True, db_default=[])
    monthly_cap_microcredits = models.BigIntegerField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    form_id = models.UUIDField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        indexes = [models.Index(name="accounts_key_of_user", fields=["user", "-id"])]
        constraints = [
            models.CheckConstraint(name="accounts_key_has_a_name", condition=~Q(name="")),
            models.CheckConstraint(
                name="accounts_key_hash_is_sha256",
                condition=Q(secret_hash__regex="^[0-9a-f]{64}$"),  # noqa: S106  a pattern, no password
            ),
            models.CheckConstraint(
                name="accounts_key_scopes_exist",
                condition=Q(scopes__len__gt=0, scopes__contained_by=list(Scope.values)),
            ),
            models.CheckConstraint(
                name="accounts_key_cap_is_positive",
                condition=Q(monthly_cap_microcredits__isnull=True) | Q(monthly_cap_microcredits__gt=0),
            ),
            models.UniqueConstraint(name="accounts_key_one_a_form", fields=["user", "form_id"]),
        ]

    def __str__(self) -> str:
        return f"tly_{self.prefix}_…"

    def may_ask(self, model_key: str) -> bool:
        """Whether the key may ask this model."""
        return not self.allowed_models or model_key in self.allowed_models

    @property
    def is_live(self) -> bool:
        """Whether the key works now: it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class ApiSessionQuerySet(models.QuerySet["ApiSession"]):
    """Queries for log-ins through the API."""

    def for_user(self, user: Any) -> "ApiSessionQuerySet":
        """The log-ins of this user, the latest first."""
        return self.filter(user=user).order_by("-created_at", "-pk")

    def live(self) -> "ApiSessionQuerySet":
        """The log-ins that are neither revoked nor expired."""
        return self.filter(revoked_at__isnull=True, expires_at__gt=timezone.now())


class ApiSession(models.Model):
    """One log-in through the API. Its tokens contain its id, so revoking it ends them at once.

    `refresh_id` is the id of the only valid refresh token; `previous_refresh_id` is that of the token before it. For
    some seconds, the previous token can be exchanged for the valid one. A later use of it, or of an older token,
    means that a token was stolen or replayed, and ends the session. `password_hash` is Django's keyed hash of the
    password: a new password ends the session too.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_sessions")
    refresh_id = models.CharField(max_length=32)
    previous_refresh_id = models.CharField(max_length=32, blank=True, default="", db_default="")
    password_hash = models.CharField(max_length=64)
    is_confirmed = models.BooleanField(default=False, db_default=False, editable=False)  # by a second factor
    address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    refreshed_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiSessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("API log-in")
        verbose_name_plural = _("API log-ins")
        indexes = [models.Index(name="accounts_session_of_user", fields=["user", "-created_at"])]
        constraints = [
            models.CheckConstraint(
                name="accounts_session_expires_after_refresh", condition=Q(expires_at__gt=models.F("refreshed_at"))
            ),
        ]

    def __str__(self) -> str:
        return f"log-in {self.pk}"


class OutgoingMailQuerySet(models.QuerySet["OutgoingMail"]):
    """Queries for outgoing mails."""

    def unfinished(self) -> "OutgoingMailQuerySet":
        """The mails that are neither sent nor given up."""
        return self.filter(sent_at__isnull=True, given_up_at__isnull=True)

    def due(self) -> "OutgoingMailQuerySet":
        """The mails that a worker may claim now, by the database's clock."""
        return self.unfinished().filter(due_at__lte=Now())

    def to_any_of(self, addresses: list[str]) -> "OutgoingMailQuerySet":
        """Mails to at least one of these addresses."""
        return self.filter(recipients__overlap=addresses)


class OutgoingMail(models.Model):
    """A mail of the outbox: it is written in a transaction, then sent or given up (accounts/mail/outbox.py).

    From `due_at` on a worker may claim it. A claim sets `due_at` to the end of the claim, a failure to the next try.
    The text often contains a link that sets a password, so it is deleted once the mail is sent or given up.
    """

    recipients = ArrayField(models.TextField())
    sender = models.TextField()
    subject = models.TextField()
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)
    headers = models.JSONField(default=dict)
    tries_count = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)

    objects = OutgoingMailQuerySet.as_manager()

    class Meta:
        verbose_name = _("outgoing mail")
        verbose_name_plural = _("outgoing mails")
        default_permissions = ()  # no staff may read the links in users' mails
        indexes = [
            models.Index(
                name="accounts_mail_is_due",
                fields=["due_at"],
                condition=Q(sent_at__isnull=True, given_up_at__isnull=True),
            ),
        ]
        constraints = [
            models.CheckConstraint(name="accounts_mail_has_a_recipient", condition=Q(recipients__len__gt=0)),
            models.CheckConstraint(
                name="accounts_mail_has_one_end", condition=Q(sent_at__isnull=True) | Q(given_up_at__isnull=True)
            ),
            models.CheckConstraint(
                name="accounts_mail_that_ended_has_no_body",
                condition=Q(sent_at__isnull=True, given_up_at__isnull=True) | Q(text="", html=""),
            ),
        ]

    def __str__(self) -> str:
        return f"mail {self.pk}"


class DataArchiveQuerySet(models.QuerySet["DataArchive"]):
    """Queries for archives."""

    def for_user(self, user: Any) -> "DataArchiveQuerySet":
        """The archives of this user, the latest first."""
        return self.filter(user=user).order_by("-created_at")

    def ready(self) -> "DataArchiveQuerySet":
        """The archives that can be downloaded."""
        return self.filter(ready_at__isnull=False, expires_at__gt=Now())

    def unfinished(self) -> "DataArchiveQuerySet":
        """The archives that are asked for and not made yet."""
        return self.filter(ready_at__isnull=True)


class DataArchive(models.Model):
    """A ZIP file of everything that is kept about a user, made in the background, deleted after `expires_at`.

    A worker may claim it from `due_at` on; a claim moves that to when it lapses. The file lies in the database, in
    parts, so that any web process can serve what any worker made.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="archives")
    created_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now())
    ready_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    size_bytes = models.BigIntegerField(default=0)

    objects = DataArchiveQuerySet.as_manager()

    class Meta:
        default_permissions = ()  # no staff may read it
        constraints = [
            models.UniqueConstraint(
                name="accounts_archive_one_unfinished", fields=["user"], condition=Q(ready_at__isnull=True)
            ),
            models.CheckConstraint(
                name="accounts_archive_expires_once_ready",
                condition=Q(ready_at__isnull=True, expires_at__isnull=True) | Q(expires_at__gt=models.F("ready_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"archive {self.pk}"


class DataArchivePart(models.Model):
    """One piece of an archive's file; the pieces in the order of `number` are the file."""

    archive = models.ForeignKey(DataArchive, on_delete=models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(name="accounts_archive_part_once", fields=["archive", "number"])]

    def __str__(self) -> str:
        return f"part {self.number} of {self.archive_id}"
