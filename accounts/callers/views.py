"""Base classes of the API's views: the caller, checked bodies, counted requests, lists."""

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, cast

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from rest_framework import exceptions, serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.callers.authentication import AnyCaller, Credential
from accounts.models import ApiKey, ApiSession, User
from core.rest.idempotency import HEADER, mark_replay, read_idempotency_key, shorten
from core.rest.lists import Pages, StrictFilters, refuse_unknown
from core.rest.problems import NOT_FOUND, Problem
from core.rest.throttles import RateLimited, count_request


class ApiView(APIView):
    """A view of the API. Subclasses name who may call in `permission_classes`."""

    permission_classes: Any = (AnyCaller,)

    @property
    def caller(self) -> User:
        """The user behind the key or the log-in."""
        return cast(User, self.request.user)

    @property
    def credential(self) -> Credential | None:
        """The key or the log-in that was sent; None in a view that anybody may call."""
        return cast(Credential | None, self.request.auth)

    @property
    def session(self) -> ApiSession:
        """The log-in. Use it only in views with the permission `LoggedIn`."""
        return cast(ApiSession, self.request.auth)

    def check_throttles(self, request: Request) -> None:
        """Count the request. Raises RateLimited for one too many."""
        auth = request.auth
        key = auth if isinstance(auth, ApiKey) else None
        count_request(request._request, user=auth.user if auth else None, key=key)  # noqa: SLF001  headers go on it

    def handle_exception(self, exc: Exception) -> Response:
        """Count a refused request for its address too, to limit guesses at keys and scopes."""
        if isinstance(exc, exceptions.NotAuthenticated | exceptions.AuthenticationFailed | exceptions.PermissionDenied):
            try:
                count_request(self.request._request, user=None, key=None)  # noqa: SLF001  headers go on it
            except RateLimited as too_often:
                exc = too_often
        return super().handle_exception(exc)

    def read_body(self, serializer_class: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """Return the checked body. Raises ValidationError, which becomes a 400 with the errors of each field."""
        serializer = serializer_class(data=self.request.data, context={"request": self.request, "view": self})
        serializer.is_valid(raise_exception=True)
        return cast(dict[str, Any], serializer.validated_data)

    def has_field(self, name: str) -> bool:
        """Whether the body has the field, for a body that may be of two kinds."""
        return isinstance(self.request.data, dict) and name in self.request.data

    def read_query(self, serializer_class: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """Return the checked query string. Raises ValidationError."""
        refuse_unknown(self.request.query_params, set(serializer_class().fields))
        serializer = serializer_class(data=self.request.query_params.dict())
        serializer.is_valid(raise_exception=True)
        return cast(dict[str, Any], serializer.validated_data)

    def read_idempotency_key(self) -> str:
        """Return the key of a request that needs one, in at most 64 characters.

        Raises ValidationError if there is none, and InvalidIdempotencyKey.
        """
        key = read_idempotency_key(self.request)
        if not key:
            raise exceptions.ValidationError({HEADER: [_("Send this header: a new one for each new request.")]})
        return shorten(key)

    def mark_replay(self, made_at: datetime | None = None) -> None:
        """Mark the answer as a replay of an earlier request's, if `made_at` is None or before this request."""
        mark_replay(self.request._request, made_at)  # noqa: SLF001  headers go on it


class ApiList(ApiView, ListAPIView, ABC):  # type: ignore[type-arg]
    """A list with cursor pagination. Subclasses set `ordering`, `serializer_class`, `rows` and maybe a filter."""

    pagination_class = Pages
    filter_backends: Any = (StrictFilters,)
    ordering = "-pk"

    @abstractmethod
    def rows(self) -> QuerySet[Any]:
        """All rows that the caller may see."""

    def get_queryset(self) -> QuerySet[Any]:
        """`rows`; none while the schema is made, because there is no caller then."""
        if getattr(self, "swagger_fake_view", False):
            kind: Any = self.serializer_class
            return cast(QuerySet[Any], kind.Meta.model.objects.none())
        return self.rows()


class UnknownPath(ApiView):
    """Any path that the API does not have: answers a 404 problem, which programs can read."""

    authentication_classes: Any = ()
    permission_classes: Any = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raises a 404 problem for every method, after counting the request."""
        super().initial(request, *args, **kwargs)
        raise Problem(NOT_FOUND, _("There is no such path. See /api/v1/docs/."))
