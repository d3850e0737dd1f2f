"""What fill.py and change.py share: the SDK pointed at localstripe, cards, customers, plans."""

import ipaddress
import json
import sys
import time
from urllib.parse import urlsplit

import stripe

GOOD_CARD = "4242424242424242"
# Can be attached to a customer; every charge is declined.
DECLINED_CARD = "4000000000000341"
DAY = 24 * 60 * 60


def connect(base):
    """Points the SDK at `base`, which must be this machine: no test ever talks to Stripe itself."""
    address = ipaddress.ip_address(urlsplit(base).hostname)
    if not address.is_loopback:
        sys.exit(f"{base}: not a loopback address")
    stripe.api_base = base
    stripe.api_key = "sk_test_localstripe"
    stripe.enable_telemetry = False
    stripe.max_network_retries = 0


def now():
    return int(time.time())


def say(name, **members):
    """One JSON line for the test."""
    print(json.dumps({"name": name, **members}), flush=True)


def card(number=GOOD_CARD):
    return stripe.PaymentMethod.create(
        type="card",
        card={"number": number, "exp_month": 12, "exp_year": 2040, "cvc": "123"},
    ).id


def customer(name, number=GOOD_CARD):
    """A customer of the company `name`, which the metadata names, with a card."""
    method = card(number)
    return stripe.Customer.create(
        name=name.replace("-", " ").title(),
        email=f"billing@{name}.example",
        metadata={"company_id": name},
        payment_method=method,
        invoice_settings={"default_payment_method": method},
    ).id


def use_card(customer_id, number):
    """Makes a new card of that number the one that is charged."""
    method = card(number)
    stripe.PaymentMethod.attach(method, customer=customer_id)
    stripe.Customer.modify(customer_id, invoice_settings={"default_payment_method": method})


def plan(product, interval, amount=None, currency="usd", **more):
    """A plan with a product of its own."""
    more.setdefault("interval_count", 1)
    if amount is not None:
        more["amount"] = amount
    return stripe.Plan.create(
        product={"name": product}, interval=interval, currency=currency, **more
    ).id


def subscribe(customer_id, plan_id, quantity=1, **more):
    return stripe.Subscription.create(
        customer=customer_id, items=[{"plan": plan_id, "quantity": quantity}], **more
    )


def post_json(path, **members):
    """A POST with typed values. localstripe stores some members as they come, and a form knows only text:
    a discount's `start` would be a string, which Stripe never sends."""
    requestor = stripe._api_requestor._APIRequestor._global_instance()
    requestor.request_raw("post", path, members, base_address="api", api_mode="V2")


def discount(customer_id, coupon_id, months=None):
    """Gives the customer a running discount, in the shape before 2025. localstripe has coupons, but no
    operation that applies one; it only keeps the member."""
    coupon = stripe.Coupon.retrieve(coupon_id).to_dict()
    start = now()
    post_json(
        f"/v1/customers/{customer_id}",
        discount={
            "object": "discount",
            "coupon": coupon,
            "customer": customer_id,
            "subscription": None,
            "start": start,
            # A month is at most 31 days: the discount runs at least that long.
            "end": None if months is None else start + months * 31 * DAY,
        },
    )


def told(name, subscription, **more):
    """The line about a named subscription, as the server has it now."""
    s = stripe.Subscription.retrieve(subscription)
    say(
        name,
        customer=s["customer"],
        subscription=s["id"],
        status=s["status"],
        created=s["created"],
        start=s["start_date"],
        period_end=s["current_period_end"],
        **more,
    )
