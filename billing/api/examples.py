"""Examples for the documentation of billing's part of the API."""

from typing import Any

from core.rest.fields import exact_credits

HOLD_ID = "0d6f1c1e-7d55-4b53-9c1d-3b1c0a9d7f52"
TOPUP_ID = "b7a0a4f2-2a6e-4f0e-8d84-5f0b8f3f6c11"


def with_credits(example: dict[str, Any]) -> dict[str, Any]:
    """Add beside each amount in microcredits the decimal string in credits."""
    beside = {
        f"{name.removesuffix('_microcredits')}_credits": None if value is None else exact_credits(value)
        for name, value in example.items()
        if name.endswith("_microcredits")
    }
    return example | beside


WALLET = with_credits(
    {
        "balance_microcredits": 99_400_320,
        "held_microcredits": 82_400,
        "available_microcredits": 99_317_920,
        "owed_microcredits": 0,
    }
)
HOLD = {
    "id": HOLD_ID,
    "state": "settled",
    "model_key": "gemma-3-1b",
    "prompt_tokens": 128,
    "max_completion_tokens": 512,
    "completion_tokens": 342,
    "prompt_microcredits_per_token": 100,
    "completion_microcredits_per_token": 200,
    "is_from_cache": False,
    "amount_microcredits": 115_200,
    "amount_credits": "0.115200",
    "charged_microcredits": 81_200,
    "charged_credits": "0.081200",
    "created_at": "2026-11-22T14:09:00.000000Z",
    "expires_at": "2026-11-22T15:09:00.000000Z",
    "closed_at": "2026-11-22T14:09:07.000000Z",
}
RECEIPT = {
    "hold_id": HOLD_ID,
    "model_key": "gemma-3-1b",
    "prompt_tokens": 128,
    "prompt_microcredits_per_token": 100,
    "prompt_cost_microcredits": 12_800,
    "completion_tokens": 342,
    "completion_microcredits_per_token": 200,
    "completion_cost_microcredits": 68_400,
    "is_from_cache": False,
    "charged_microcredits": 81_200,
    "charged_credits": "0.081200",
    "refunded_microcredits": 0,
    "refunded_credits": "0.000000",
    "ledger_entry_id": 4711,
    "created_at": "2026-11-22T14:09:00.000000Z",
    "closed_at": "2026-11-22T14:09:07.000000Z",
}
ENTRY = {
    "id": 4711,
    "kind": "usage",
    "amount_microcredits": -81_200,
    "amount_credits": "-0.081200",
    "balance_after_microcredits": 99_400_320,
    "balance_after_credits": "99.400320",
    "hold_id": HOLD_ID,
    "reason": "generation:5f0b8f3f-6c11-4b53-9c1d-3b1c0a9d7f52",
    "created_at": "2026-11-22T14:09:07.000000Z",
}
EXPORTED_ENTRY = {
    "entry_id": 4711,
    "created_at": "2026-11-22T14:09:07.000000Z",
    "kind": "usage",
    "amount_microcredits": -81_200,
    "amount_credits": "-0.081200",
    "balance_after_microcredits": 99_400_320,
    "model": "gemma-3-1b",
    "prompt_tokens": 128,
    "completion_tokens": 342,
    "hold_id": HOLD_ID,
    "reason": "generation:5f0b8f3f-6c11-4b53-9c1d-3b1c0a9d7f52",
}
GRANT = {
    "id": 12,
    "kind": "bonus",
    "reason": "sign-up bonus",
    "amount_microcredits": 10_000_000,
    "amount_credits": "10.000000",
    "remaining_microcredits": 9_400_320,
    "remaining_credits": "9.400320",
    "granted_at": "2026-11-01T09:31:00.000000Z",
    "expires_at": "2027-11-01T09:31:00.000000Z",
}
PACKAGE = {
    "id": 2,
    "name": "Medium",
    "price_minor": 2000,
    "price": "20.00",
    "currency": "usd",
    "credits_microcredits": 2_000_000_000,
    "credits": "2000.000000",
    "bonus_microcredits": 100_000_000,
    "bonus_credits": "100.000000",
}
TOPUP = {
    "id": TOPUP_ID,
    "state": "created",
    "provider": "stripe",
    "package_id": 2,
    "amount_minor": 2000,
    "amount": "20.00",
    "currency": "usd",
    "credits_microcredits": 2_000_000_000,
    "credits": "2000.000000",
    "bonus_microcredits": 100_000_000,
    "bonus_credits": "100.000000",
    "checkout_url": "https://checkout.stripe.com/c/pay/cs_live_a1",
    "created_at": "2026-11-22T14:09:00.000000Z",
    "paid_at": None,
}
PAYMENT = {
    "topup_id": TOPUP_ID,
    "provider": "stripe",
    "payment_reference": "pi_3Nx",
    "amount_minor": 2000,
    "amount": "20.00",
    "currency": "usd",
    "credited_microcredits": 2_100_000_000,
    "refunded_minor": 0,
    "disputed_minor": 0,
    "clawed_back_microcredits": 0,
    "clawed_back_credits": "0.000000",
    "paid_at": "2026-11-22T14:11:00.000000Z",
}
REDEEMED = ENTRY | {
    "id": 4712,
    "kind": "promotion",
    "amount_microcredits": 5_000_000,
    "amount_credits": "5.000000",
    "balance_after_microcredits": 104_400_320,
    "balance_after_credits": "104.400320",
    "hold_id": None,
    "reason": "code WELCOME",
}
MODEL_USE = {
    "model": "gemma-3-1b",
    "answers": 12,
    "prompt_tokens": 1536,
    "completion_tokens": 4104,
    "charged_microcredits": 974_400,
    "charged_credits": "0.974400",
}
USAGE = {
    "total": MODEL_USE | {"model": ""},
    "models": [MODEL_USE],
    "days": [
        {"day": "2026-11-22", "charged_microcredits": {"gemma-3-1b": 974_400}, "total_microcredits": 974_400},
    ],
}
ADJUSTMENT = {
    "id": "5e0c7d7a-93a4-4c2e-b7b4-1f2f4c9f2a10",
    "state": "done",
    "user_id": 7,
    "amount_microcredits": 5_000_000,
    "amount_credits": "5.000000",
    "reason": "as agreed on the phone",
    "requested_by_id": 2,
    "requested_at": "2026-11-22T14:20:00.000000Z",
    "decided_by_id": 2,
    "decided_at": "2026-11-22T14:20:00.000000Z",
    "ledger_entry_id": 4713,
}
REJECTED_ADJUSTMENT = ADJUSTMENT | {"state": "rejected", "decided_by_id": 3, "ledger_entry_id": None}
REFUND = {
    "id": "a4f0c2de-0b1e-4e57-8c6e-2a1b7f5d9e33",
    "state": "done",
    "hold_id": HOLD_ID,
    "topup_id": None,
    "amount": 81_200,
    "reason": "it was cut off",
    "requested_by_id": 2,
    "requested_at": "2026-11-22T14:20:00.000000Z",
    "decided_by_id": 3,
    "decided_at": "2026-11-22T14:25:00.000000Z",
    "error": "",
}
REJECTED = REFUND | {"state": "rejected"}
CODE = {
    "id": 5,
    "code": "WELCOME",
    "credits_microcredits": 5_000_000,
    "credits": "5.000000",
    "expires_after_days": None,
    "starts_at": "2026-11-22T14:09:00.000000Z",
    "ends_at": None,
    "most_redemptions": 1000,
    "most_per_user": 1,
    "is_for_new_users": False,
    "is_active": True,
    "batch": "",
    "redemptions_count": 12,
    "created_at": "2026-11-22T14:09:00.000000Z",
    "created_by_id": 2,
    "is_waiting": False,
    "approved_by_id": 3,
}
APPROVED_CODE = CODE | {"redemptions_count": 0}
PRICE = {
    "id": 9,
    "model_key": "gemma-3-1b",
    "prompt_microcredits_per_token": 90,
    "completion_microcredits_per_token": 180,
    "effective_at": "2027-01-01T00:00:00.000000Z",
    "created_by_id": 3,
    "created_at": "2026-11-22T14:09:00.000000Z",
}
