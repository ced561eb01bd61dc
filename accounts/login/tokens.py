"""Access and refresh tokens. The key that signs them can be replaced without logging anybody out.

A token names its key in its header (`kid`). The settings have the key that signs (JWT_SIGNING_KEY) and those that are
still believed (JWT_SIGNING_KEY_FALLBACKS). A token without a name was made before keys had names: SECRET_KEY signed it.
docs/configuration.md says how to replace a key.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jwt
from django.conf import settings
from rest_framework_simplejwt import tokens
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError
from rest_framework_simplejwt.settings import api_settings

NAME_CHARACTERS = 16


class RotatingKeys(TokenBackend):
    """Signs with the first of `keys`, and believes all of them; of tokens without a name those of `nameless_keys`."""

    def __init__(self, keys: Sequence[str], nameless_keys: Sequence[str]) -> None:
        super().__init__(api_settings.ALGORITHM, signing_key=keys[0], issuer=api_settings.ISSUER)
        self._key, self._name = keys[0], name_of(keys[0])
        self._keys = {name_of(key): key for key in keys}
        self._nameless_keys = nameless_keys

    def encode(self, payload: dict[str, Any]) -> str:
        """A signed token, with the name of its key in the header."""
        claims = payload | {"iss": self.issuer}
        return jwt.encode(claims, self._key, algorithm=self.algorithm, headers={"kid": self._name})

    def get_verifying_key(self, token: Any) -> str:
        """The key that a token says it was signed with. Raises TokenBackendError for one that nobody has."""
        try:
            name = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError as error:
            raise TokenBackendError("Token is invalid") from error
        key = self._key_without_name(token) if name is None else self._keys.get(name)
        if key is None:
            raise TokenBackendError("Token is invalid")
        return key

    def _key_without_name(self, token: Any) -> str | None:
        return next((key for key in self._nameless_keys if self._has_signed(key, token)), None)

    def _has_signed(self, key: str, token: Any) -> bool:
        only_the_signature: Any = {"verify_exp": False, "verify_iss": False, "verify_aud": False}
        try:
            jwt.decode(token, key, algorithms=[self.algorithm], options=only_the_signature)
        except jwt.InvalidTokenError:
            return False
        return True


def name_of(key: str) -> str:
    """What a key is called in tokens: it tells nothing about the key."""
    return hashlib.sha256(f"tally key {key}".encode()).hexdigest()[:NAME_CHARACTERS]


def signing_keys() -> RotatingKeys:
    """The keys that the settings name now."""
    keys = (settings.JWT_SIGNING_KEY, *settings.JWT_SIGNING_KEY_FALLBACKS)
    return _keys_of(keys, (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=4)
def _keys_of(keys: tuple[str, ...], nameless_keys: tuple[str, ...]) -> RotatingKeys:
    return RotatingKeys(keys, nameless_keys)


class AccessToken(tokens.AccessToken):
    """Good for ten minutes; it does all that its user may."""

    @property
    def token_backend(self) -> RotatingKeys:
        """See `RotatingKeys`."""
        return signing_keys()


class RefreshToken(tokens.RefreshToken):
    """Exchanged for a new pair, once."""

    access_token_class = AccessToken

    @property
    def token_backend(self) -> RotatingKeys:
        """See `RotatingKeys`."""
        return signing_keys()
