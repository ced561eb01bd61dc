"""The admin of users with their rights, of groups, and of e-mail addresses."""

from typing import Any, cast

from allauth.account.admin import EmailAddressAdmin as AllauthEmailAddressAdmin
from allauth.account.models import EmailAddress
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit
from accounts.admin.access import AccessPages
from accounts.admin.audited import AuditedAdmin
from accounts.callers.requests import Request
from accounts.models import User
from accounts.staff import rights
from core.admin.base import ServiceAdmin
from core.admin.large_lists import LargeList

PERSONAL = ("email", "first_name", "last_name")


@admin.register(User)
class UserAdmin(AccessPages, LargeList, ServiceAdmin, DjangoUserAdmin[User]):
    """Django's user admin, by e-mail address. The service `rights` changes the rights of users.

    Staff with the permission suspend and restore users on the pages of `access`, which ask why.
    Staff who are not superusers can change only customers, and no rights.
    """

    ordering = ("-date_joined", "-id")
    list_display = ("email", "customer", "is_active", "is_staff", "date_joined", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups", "date_joined")
    people = "pk"
    search_fields = ("pk",)
    search_help_text = gettext_lazy(
        "The beginning of the e-mail address, of the first or of the last name; or the number."
    )
    readonly_fields = ("is_active", "last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        (gettext_lazy("Name"), {"fields": ("first_name", "last_name")}),
        (
            gettext_lazy("Permissions"),
            {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        (gettext_lazy("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "password1", "password2")}),)

    def named_by(self, text: str) -> Q:
        """By the beginning of a name too, as it is written or with a capital letter."""
        found = super().named_by(text)
        for start in (text, text.capitalize()):
            found |= Q(first_name__startswith=start) | Q(last_name__startswith=start)
        return found

    @admin.display(description=gettext_lazy("customer"))
    def customer(self, row: User) -> str:
        """Leads to everything about the customer."""
        return format_html('<a href="{}">{}</a>', reverse("admin:customer", args=[row.pk]), _("Open"))

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Whether this member of staff may change the user. Only superusers may change staff."""
        may = super().has_change_permission(request, obj)
        is_staff = obj is not None and (obj.is_staff or obj.is_superuser)
        return may and (cast(Request, request).user.is_superuser or not is_staff)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Make rights read-only: for one's own account, and for all who are not superusers."""
        by = cast(Request, request).user
        is_fixed = obj is not None and (obj.pk == by.pk or not by.is_superuser)
        return (*self.readonly_fields, *rights.RIGHTS) if is_fixed else self.readonly_fields

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:
        """Django's form, with a help text for `is_active`, which buttons change instead of the form."""
        help_texts = {"is_active": _("Suspend and Restore, above, change it and ask why.")}
        return super().get_form(request, obj, change=change, help_texts=help_texts, **kwargs)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save what changed, rights through their service, and record it in the audit log."""
        by = cast(Request, request).user
        if not change:
            super().save_model(request, obj, form, change)
            audit.record(actor=by, action="user added", subject=obj)
            return
        changed = {name: form.cleaned_data[name] for name in form.changed_data}
        personal = [name for name in PERSONAL if name in changed]
        if personal:
            obj.save(update_fields=personal)
            audit.record(actor=by, action="user changed", subject=obj, fields=", ".join(personal))
        wanted = {name: changed[name] for name in rights.RIGHTS if name in changed}
        if wanted:
            rights.change_rights(user=obj, by=by, wanted=wanted)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save related rows of a new user only: `save_model` has saved groups and permissions of an existing one."""
        if not change:
            super().save_related(request, form, formsets, change)

    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002  Django's name
        """Django's page. If it sets a password, the audit log records that."""
        before = self.get_object(request, id)
        answer = super().user_change_password(request, id, form_url)
        user = self.get_object(request, id)
        if before is not None and user is not None and user.password != before.password:
            audit.record(actor=cast(Request, request).user, action="password set", subject=user)
        return answer


admin.site.unregister(Group)
admin.site.unregister(EmailAddress)


@admin.register(Group)
class GroupAdmin(AuditedAdmin, DjangoGroupAdmin):
    """Roles and other groups. The next migrate resets the permissions of the roles in `accounts.staff.roles`."""

    audited_as = "group"


@admin.register(EmailAddress)
class EmailAddressAdmin(LargeList, AuditedAdmin, AllauthEmailAddressAdmin):  # type: ignore[misc]  # it has no types
    """The addresses with which people log in."""

    audited_as = "e-mail address"
    people, found_by = "user", ("email",)
    search_fields = ("pk",)
    list_filter = ()  # of these columns there is no index, and the search finds a person's
    list_select_related = ("user",)
    ordering = ("-id",)
    private_fields = ("email",)

    def subject_of(self, row: EmailAddress) -> User:
        """Whose address it is."""
        owner: User = row.user
        return owner

    @admin.action(permissions=["change"], description=gettext_lazy("Mark selected email addresses as verified"))
    @transaction.atomic
    def make_verified(self, request: HttpRequest, queryset: QuerySet[EmailAddress]) -> None:
        """Mark the addresses as verified, and record those that were not verified before."""
        open_ids = list(queryset.filter(verified=False).values_list("pk", flat=True))
        super().make_verified(request, queryset)
        for address in EmailAddress.objects.filter(pk__in=open_ids, verified=True).select_related("user"):
            self.note(request, "verified", address)
