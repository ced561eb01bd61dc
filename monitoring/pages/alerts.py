"""The pages of alerts: the list, one alert with what operators do about it, and the sections that explain them."""

from collections.abc import Callable

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts.callers.requests import Request
from monitoring.alerts import actions, reading
from monitoring.alerts.runbook import read_sections
from monitoring.models import Alert, AlertState
from monitoring.pages.charts import draw
from monitoring.pages.forms import MuteForm, NoteForm
from monitoring.pages.operators import operators_only

PAGE = 50
REFRESH_SECONDS = 5


@require_safe
@operators_only
def alerts(request: Request) -> HttpResponse:
    """The open alerts, those that were resolved, and the closed ones a page at a time."""
    told = Alert.objects.told().select_related("taken_by")
    closed = told.filter(state=AlertState.CLOSED).order_by("-closed_at")
    context = {
        "open_alerts": Alert.objects.open().select_related("taken_by"),
        "resolved": told.filter(state=AlertState.RESOLVED).order_by("-resolved_at"),
        "closed": Paginator(closed, PAGE).get_page(request.GET.get("page")),
        "open_count": reading.count_open(),
    }
    return render(request, "monitoring/alerts.html", context)


@require_safe
@operators_only
def alert(request: Request, alert_id: int) -> HttpResponse:
    """One alert; for htmx, how it stands now."""
    found = _find(alert_id)
    if request.htmx:
        return render(request, "monitoring/_alert_now.html", {"alert": found})
    rule = reading.rule_of(found)
    context = {
        "alert": found,
        "rule": rule,
        "section": read_sections().get(rule.anchor) if rule else None,
        "chart": draw(reading.times_of(found), limit=found.limit, opened_at=found.opened_at),
        "beside": reading.at_the_same_time(found),
        "earlier": reading.earlier(found),
        "events": found.events.select_related("by"),
        "deliveries": found.deliveries.order_by("created_at"),
        "note_form": NoteForm(),
        "refresh_seconds": REFRESH_SECONDS,
        "open_count": reading.count_open(),
    }
    return render(request, "monitoring/alert.html", context)


@require_safe
@operators_only
def runbook(request: Request) -> HttpResponse:
    """What each alert means, what to look at, and what to do."""
    return render(
        request, "monitoring/runbook.html", {"sections": read_sections().values(), "open_count": reading.count_open()}
    )


@require_POST
@operators_only
def acknowledge(request: Request, alert_id: int) -> HttpResponse:
    """Somebody works on it."""
    return _act(request, alert_id, lambda: actions.acknowledge(alert_id=alert_id, by=request.user))


@require_POST
@operators_only
def resolve(request: Request, alert_id: int) -> HttpResponse:
    """It is over, by the operator's word."""
    return _act(request, alert_id, lambda: actions.resolve(alert_id=alert_id, by=request.user))


@require_POST
@operators_only
def mute(request: Request, alert_id: int) -> HttpResponse:
    """Tell nothing of it for a time."""
    form = MuteForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Choose for how long."))
        return redirect("monitoring:alert", _find(alert_id).pk)
    how_long = form.cleaned_data["how_long"]
    return _act(request, alert_id, lambda: actions.mute(alert_id=alert_id, by=request.user, how_long=how_long))


@require_POST
@operators_only
def unmute(request: Request, alert_id: int) -> HttpResponse:
    """Tell of it again."""
    return _act(request, alert_id, lambda: actions.unmute(alert_id=alert_id, by=request.user))


@require_POST
@operators_only
def note(request: Request, alert_id: int) -> HttpResponse:
    """A note for the others."""
    form = NoteForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Write a note of at most 1000 characters."))
        return redirect("monitoring:alert", _find(alert_id).pk)
    words = form.cleaned_data
    return _act(
        request,
        alert_id,
        lambda: actions.add_note(alert_id=alert_id, by=request.user, text=words["text"], key=words["key"]),
    )


def _find(alert_id: int) -> Alert:
    return get_object_or_404(Alert.objects.told().select_related("taken_by"), pk=alert_id)


def _act(request: Request, alert_id: int, action: Callable[[], None]) -> HttpResponse:
    """Do it, and show the alert again, with a message if it is over."""
    try:
        action()
    except Alert.DoesNotExist as error:
        raise Http404 from error
    except actions.AlertIsOver as error:
        messages.warning(request, str(error))
    return redirect("monitoring:alert", alert_id)
