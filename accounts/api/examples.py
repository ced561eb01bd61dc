"""Examples of the accounts' part of the API, as its documentation shows them."""

ME = {
    "id": 7,
    "email": "alice@example.com",
    "first_name": "Alice",
    "last_name": "",
    "is_staff": False,
    "date_joined": "2026-11-01T09:30:00.000000Z",
}
KEY = {
    "id": 3,
    "name": "Nightly reports",
    "prefix": "k3J9xQ2mVb",
    "scopes": ["chat", "usage:read"],
    "models": ["gemma-3-1b"],
    "monthly_cap_microcredits": 50_000_000,
    "monthly_cap_credits": "50.000000",
    "expires_at": "2027-01-01T00:00:00.000000Z",
    "replaced_until": None,
    "last_used_at": None,
    "revoked_at": None,
    "created_at": "2026-11-22T14:09:00.000000Z",
    "is_live": True,
}
NEW_KEY = {"key": "tly_k3J9xQ2mVb_" + 43 * "0"} | KEY
KEY_CHANGE_BODY = {"name": "Weekly reports", "monthly_cap_microcredits": None}
ROTATE_BODY = {"overlap_seconds": 3_600}
KEY_BODY = {
    "name": "Nightly reports",
    "scopes": ["chat", "usage:read"],
    "monthly_cap_microcredits": 50_000_000,
    "expires_at": "2027-01-01T00:00:00Z",
}
LOGIN_BODY = {"email": "alice@example.com", "password": "correct horse battery staple"}
MAILED = {"detail": "If the address fits, a mail is on its way to it."}
TOKENS = {
    "access": "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIn0.c2lnbmF0dXJl",
    "refresh": "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl",
    "access_seconds": 600,
    "session_id": "6e0c2a64-9f0b-4f6e-8a54-1a4f7f0f3d11",
}
VERIFIED = {"session_id": TOKENS["session_id"], "user_id": 7, "email": "alice@example.com"}
SESSION = {
    "id": TOKENS["session_id"],
    "address": "203.0.113.7",
    "user_agent": "python-httpx/0.28.1",
    "created_at": "2026-11-22T14:09:00.000000Z",
    "refreshed_at": "2026-11-22T14:19:00.000000Z",
    "expires_at": "2026-12-06T14:19:00.000000Z",
    "is_current": True,
}
EXPORT = {
    "exported_at": "2026-11-22T14:09:00.000Z",
    "account": [{"pk": 7, "email": "alice@example.com", "first_name": "Alice", "last_name": ""}],
    "ledger_entries": [{"pk": 4711, "kind": "usage", "amount_microcredits": -81200}],
}
