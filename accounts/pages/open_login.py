"""The page of the mailed link that opens an account again after wrong guesses shut it."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.login.devices import remember_device
from accounts.login.guesses import open_by_link


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def open_login(request: HttpRequest, token: str) -> HttpResponse:
    """Open the account and redirect to the log-in.

    A GET only asks for confirmation, because programs that scan mails follow links.
    """
    if request.method != "POST":
        return render(request, "accounts/open_login.html", {"is_refused": False})
    user = open_by_link(token)
    if user is None:
        return render(request, "accounts/open_login.html", {"is_refused": True})
    response = redirect("account_login")
    remember_device(response=response, request=request, user=user)
    return response
