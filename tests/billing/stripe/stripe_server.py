"""A small Stripe for tests: a real HTTP server that speaks the part of the REST API Tally uses, and its buyers.

Answers follow https://docs.stripe.com/api: form-encoded requests with bracketed names, lists in pages from the newest
on, the same answer for the same Idempotency-Key and parameters, 400 `idempotency_error` for other parameters.
Signatures follow https://docs.stripe.com/webhooks#verify-manually: HMAC-SHA256 of "<time>.<body>".
"""

import json
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.billing.stripe.signing import Json


class StripeServer:
    """Sessions, payments, charges, refunds, disputes and cards in memory, and the events that came of them."""

    def __init__(self) -> None:
        names = ["checkout/sessions", "payment_intents", "charges", "refunds", "disputes"]
        names += ["customers", "setup_intents", "payment_methods"]
        self.objects: dict[str, dict[str, Json]] = {name: {} for name in names}
        self.requests: list[tuple[str, str, Json]] = []  # method, path, parameters; all that arrived
        self.failures: list[int] = []  # status codes to answer next, 0 to hang up
        self.refusals: list[tuple[int, str]] = []  # status and error code that the next refunds are refused with
        self.lost_answers = 0  # so many of the next POSTs are done, but nobody hears of it
        self.after_reading: dict[str, list[Callable[[], None]]] = {"disputes": [], "refunds": []}  # called once each
        self._answers: dict[str, tuple[Json, int, Json]] = {}
        self._numbers = count(1)
        self._lock = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.stripe = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=5)

    # What buyers, their banks and the dashboard do. Each returns the events of it, for the test to deliver.

    def pay(self, session_id: str, **changes: Any) -> Json:
        """The buyer pays by card."""
        session = self.objects["checkout/sessions"][session_id]
        session |= {"status": "complete", "payment_status": "paid", "payment_intent": self._charge(session)} | changes
        return self.event("checkout.session.completed", session)

    def pay_later(self, session_id: str) -> Json:
        """The buyer chooses a method whose money takes days."""
        session = self.objects["checkout/sessions"][session_id]
        session |= {"status": "complete", "payment_status": "unpaid", "payment_intent": self._charge(session)}
        return self.event("checkout.session.completed", session)

    def money_arrives(self, session_id: str) -> Json:
        session = self.objects["checkout/sessions"][session_id]
        session["payment_status"] = "paid"
        return self.event("checkout.session.async_payment_succeeded", session)

    def money_never_arrives(self, session_id: str) -> Json:
        return self.event("checkout.session.async_payment_failed", self.objects["checkout/sessions"][session_id])

    def expire(self, session_id: str) -> Json:
        session = self.objects["checkout/sessions"][session_id]
        session["status"] = "expired"
        return self.event("checkout.session.expired", session)

    def refund(self, payment_intent: str, amount: int) -> Json:
        """Somebody gives money back, here or in the dashboard."""
        charge = self.charge_of(payment_intent)
        self._give_back(charge, amount, {})
        return self.event("charge.refunded", charge)

    def refund_moves(self, refund_id: str, status: str, kind: str = "updated", reason: str | None = None) -> Json:
        """A refund is on its way, or a bank sends it back: then its money is the account's again."""
        refund = self.objects["refunds"][refund_id]
        if status in {"failed", "canceled"} and refund["status"] != status:
            self.charge_of(refund["payment_intent"])["amount_refunded"] -= refund["amount"]
        refund |= {"status": status, "failure_reason": reason}
        return self.event(f"refund.{kind}", refund)

    def open_dispute(self, payment_intent: str, amount: int, currency: str = "usd", status: str = "needs_response"):
        dispute = self._add(
            "disputes",
            "dp",
            object="dispute",
            amount=amount,
            currency=currency,
            status=status,
            payment_intent=payment_intent,
            charge=self.charge_of(payment_intent)["id"],
        )
        return self.event("charge.dispute.created", dispute)

    def dispute_moves(self, dispute_id: str, status: str, kind: str = "closed") -> Json:
        """A dispute is won or lost, or an inquiry becomes a dispute."""
        dispute = self.objects["disputes"][dispute_id]
        dispute["status"] = status
        return self.event(f"charge.dispute.{kind}", dispute)

    def enter_card(self, session_id: str, behaviour: str = "approve") -> Json:
        """The customer enters a card; `behaviour` is a status of off-session payments, or the code of a refusal."""
        session = self.objects["checkout/sessions"][session_id]
        method = self._add(
            "payment_methods",
            "pm",
            object="payment_method",
            type="card",
            customer=session["customer"],
            card={"brand": "visa", "last4": "4242"},
            behaviour=behaviour,
        )
        setup = self._add("setup_intents", "seti", object="setup_intent", status="succeeded", payment_method=method)
        session |= {"status": "complete", "payment_status": "no_payment_required", "setup_intent": setup["id"]}
        return self.event("checkout.session.completed", session)

    def payment_event(self, payment_intent: str) -> Json:
        """What Stripe tells of a payment as it stands."""
        payment = self.objects["payment_intents"][payment_intent]
        kind = "succeeded" if payment["status"] == "succeeded" else "payment_failed"
        return self.event(f"payment_intent.{kind}", payment)

    def settle_payment(self, payment_intent: str) -> Json:
        """Money that was being processed arrives."""
        payment = self.objects["payment_intents"][payment_intent]
        payment |= {"status": "succeeded", "amount_received": payment["amount"]}
        return self.payment_event(payment_intent)

    def event(self, kind: str, about: Json) -> Json:
        """An event as Stripe sends it: the object as it was at that moment."""
        return {
            "id": f"evt_{next(self._numbers)}",
            "object": "event",
            "type": kind,
            "created": int(time.time()),
            "data": {"object": deepcopy(about)},
        }

    def charge_of(self, payment_intent: str) -> Json:
        return next(c for c in self.objects["charges"].values() if c["payment_intent"] == payment_intent)

    # The API

    def answer(self, method: str, path: str, params: Json, idempotency_key: str) -> tuple[int, Json]:
        """Status and body for a request. A POST with a known key is not done again."""
        with self._lock:
            status, body = self._answer(method, path, params, idempotency_key)
        waiting = self.after_reading.get(path.removeprefix("/v1/")) if method == "GET" else None
        if waiting:
            waiting.pop(0)()
        if method == "POST" and status == 200 and self.lost_answers:
            self.lost_answers -= 1
            return 0, {}
        return status, body

    def _answer(self, method: str, path: str, params: Json, idempotency_key: str) -> tuple[int, Json]:
        self.requests.append((method, path, params))
        if self.failures:
            return self.failures.pop(0), _error("api_error", "injected")
        if method == "GET":
            return self._get(path, params)
        if path.endswith("/detach"):
            found = self.objects["payment_methods"].pop(path.split("/")[3], None)
            return (200, found) if found else (404, _error("invalid_request_error", "No such payment method"))
        if idempotency_key not in self._answers:
            status, body = self._post(path, params)
            if status in {409, 429}:  # nothing was tried, so nothing is remembered
                return status, body
            self._answers[idempotency_key] = (params, status, body)
        earlier, status, body = self._answers[idempotency_key]
        if earlier != params:
            return 400, _error("idempotency_error", "Keys for idempotent requests can only be used with the same")
        return status, body

    def _get(self, path: str, params: Json) -> tuple[int, Json]:
        name, _, last = path.removeprefix("/v1/").rpartition("/")
        if name in self.objects:
            found = self.objects[name].get(last)
            return (200, found) if found else (404, _error("invalid_request_error", "No such object"))
        name = f"{name}/{last}".strip("/")
        if name not in self.objects:
            return 404, _error("invalid_request_error", "Unrecognized request URL")
        return 200, deepcopy(self._page(name, params))

    def _page(self, name: str, params: Json) -> Json:
        rows = list(reversed(self.objects[name].values()))
        for field in ("payment_intent", "customer"):
            if field in params:
                rows = [row for row in rows if row.get(field) == params[field]]
        rows = [row for row in rows if row["created"] >= int(params.get("created[gte]", 0))]
        if "starting_after" in params:
            rows = rows[[row["id"] for row in rows].index(params["starting_after"]) + 1 :]
        page = rows[: min(int(params.get("limit", 10)), 100)]
        return {"object": "list", "data": page, "has_more": len(rows) > len(page), "url": f"/v1/{name}"}

    def _post(self, path: str, params: Json) -> tuple[int, Json]:
        if path == "/v1/checkout/sessions":
            return 200, self._open_setup(params) if params["mode"] == "setup" else self._open_session(params)
        if path == "/v1/customers":
            return 200, self._add("customers", "cus", object="customer", email=params["email"])
        if path == "/v1/payment_intents":
            return self._charge_card(params)
        if path == "/v1/refunds":
            return self._refund(params)
        return 404, _error("invalid_request_error", "Unrecognized request URL")

    def _open_setup(self, params: Json) -> Json:
        assert params["customer"] in self.objects["customers"]
        session = self._add(
            "checkout/sessions",
            "cs_test",
            object="checkout.session",
            mode="setup",
            status="open",
            payment_status="no_payment_required",
            payment_intent=None,
            setup_intent=None,
            customer=params["customer"],
            metadata={"card_id": params["metadata[card_id]"]},
        )
        session["url"] = f"https://checkout.stripe.com/c/setup/{session['id']}"
        return deepcopy(session)

    def _charge_card(self, params: Json) -> tuple[int, Json]:
        """Create and confirm a payment that nobody is there for: 402 and the payment inside where it is declined."""
        assert (params["confirm"], params["off_session"]) == ("true", "true")
        method = self.objects["payment_methods"].get(params["payment_method"])
        if method is None or method["customer"] != params["customer"]:
            return 400, _error("invalid_request_error", "No such payment method")
        behaviour, amount = method["behaviour"], int(params["amount"])
        status = {"approve": "succeeded", "processing": "processing"}.get(behaviour, "requires_payment_method")
        payment = self._add(
            "payment_intents",
            "pi",
            object="payment_intent",
            amount=amount,
            amount_received=amount if status == "succeeded" else 0,
            currency=params["currency"],
            customer=params["customer"],
            status=status,
            last_payment_error=None,
            metadata={"topup_id": params["metadata[topup_id]"], "automatic": params["metadata[automatic]"]},
        )
        if status == "requires_payment_method":
            payment["last_payment_error"] = {"type": "card_error", "code": behaviour}
            error = _error("card_error", "Your card was declined.")
            error["error"] |= {"code": behaviour, "payment_intent": deepcopy(payment)}
            return 402, error
        self._add(
            "charges",
            "ch",
            object="charge",
            payment_intent=payment["id"],
            amount=amount,
            currency=params["currency"],
            amount_refunded=0,
            metadata=payment["metadata"],
        )
        return 200, deepcopy(payment)

    def _open_session(self, params: Json) -> Json:
        session = self._add(
            "checkout/sessions",
            "cs_test",
            object="checkout.session",
            mode=params["mode"],
            status="open",
            payment_status="unpaid",
            payment_intent=None,
            amount_total=int(params["line_items[0][price_data][unit_amount]"]) * int(params["line_items[0][quantity]"]),
            currency=params["line_items[0][price_data][currency]"],
            client_reference_id=params["client_reference_id"],
            customer_email=params["customer_email"],
            metadata={"topup_id": params["metadata[topup_id]"]},
            success_url=params["success_url"],
            cancel_url=params["cancel_url"],
        )
        session["url"] = f"https://checkout.stripe.com/c/pay/{session['id']}"
        session["payment_metadata"] = {"topup_id": params["payment_intent_data[metadata][topup_id]"]}
        return deepcopy(session)

    def _refund(self, params: Json) -> tuple[int, Json]:
        charge, amount = self.charge_of(params["payment_intent"]), int(params["amount"])
        if self.refusals:
            status, code = self.refusals.pop(0)
            return status, _error("invalid_request_error", "Refused by the test", code)
        if charge["amount_refunded"] == charge["amount"]:
            return 400, _error("invalid_request_error", "It has already been refunded.", "charge_already_refunded")
        if charge["amount_refunded"] + amount > charge["amount"]:
            return 400, _error("invalid_request_error", "Refund amount is greater than unrefunded amount on charge")
        return 200, deepcopy(self._give_back(charge, amount, {"key": params["metadata[key]"]}))

    def _give_back(self, charge: Json, amount: int, metadata: Json) -> Json:
        charge["amount_refunded"] += amount
        return self._add(
            "refunds",
            "re",
            object="refund",
            status="succeeded",
            amount=amount,
            currency=charge["currency"],
            payment_intent=charge["payment_intent"],
            failure_reason=None,
            metadata=metadata,
        )

    def forget_keys(self) -> None:
        """A day has passed."""
        self._answers.clear()

    def _charge(self, session: Json) -> str:
        """The payment and the charge of a session; the metadata goes to both, never to disputes."""
        payment = self._add(
            "payment_intents",
            "pi",
            object="payment_intent",
            status="succeeded",
            amount_received=session["amount_total"],
            currency=session["currency"],
            metadata=session.get("payment_metadata", {}),
        )
        self._add(
            "charges",
            "ch",
            object="charge",
            payment_intent=payment["id"],
            amount=session["amount_total"],
            currency=session["currency"],
            amount_refunded=0,
            metadata=payment["metadata"],
        )
        return payment["id"]

    def _add(self, name: str, prefix: str, **fields: Any) -> Json:
        made = {"id": f"{prefix}_{next(self._numbers)}", "created": int(time.time()), "livemode": False, **fields}
        self.objects[name][made["id"]] = made
        return made


class _Handler(BaseHTTPRequestHandler):
    """HTTP to `StripeServer.answer`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve(urlsplit(self.path).query)

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())

    def _serve(self, form: str) -> None:
        stripe: StripeServer = self.server.stripe  # type: ignore[attr-defined]
        if self.headers.get("Authorization") != "Bearer sk_test_tally":
            status, body = 401, _error("invalid_request_error", "Invalid API Key provided")
        else:
            params = dict(parse_qsl(form, keep_blank_values=True))
            key = self.headers.get("Idempotency-Key", "")
            status, body = stripe.answer(self.command, urlsplit(self.path).path, params, key)
        if not status:
            self.close_connection = True  # hang up without a word
            return
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


def _error(kind: str, message: str, code: str = "") -> Json:
    return {"error": {"type": kind, "message": message, **({"code": code} if code else {})}}
