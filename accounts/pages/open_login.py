"""The page of a mailed link that opens an account after strangers guessed at its password."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.login.devices import remember_device
from accounts.login.guesses import open_by_link


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def open_login(request: HttpRequest, token: str) -> HttpResponse:
    """Ask first: programs that look at mails follow links. Then open, and go to the log-in."""
    if request.method != "POST":
        return render(request, "accounts/open_login.html", {"is_refused": False})
    user = open_by_link(token)
    if user is None:
        return render(request, "accounts/open_login.html", {"is_refused": True})
    response = redirect("account_login")
    remember_device(response=response, request=request, user=user)
    return response
