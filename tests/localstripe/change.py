"""Changes what fill.py made.

usage: change.py http://127.0.0.1:PORT told|silent

`told` makes changes that localstripe sends events for, `silent` changes that only the next read can find.
Prints one JSON line for each name that changed.
"""

import sys

import stripe
from shop import GOOD_CARD, connect, customer, discount, plan, say, subscribe, told, use_card


def find(name):
    """The customer of that name and its newest subscription."""
    for who in stripe.Customer.list(limit=100).data:
        if who.metadata.to_dict().get("company_id") == name:
            subscriptions = stripe.Subscription.list(customer=who.id, status="all", limit=100)
            return who, subscriptions.data[0]
    sys.exit(f"{name}: no such customer; was fill.py run?")


def item(subscription, **members):
    """The one item of the subscription with those members changed."""
    return [{"id": subscription["items"].data[0].id, **members}]


def by_event():
    # Gone with all that it had. First, so that the number of customers never comes back to one that a
    # listing was remembered under.
    who, _ = find("doomed")
    stripe.Customer.delete(who.id)
    say("doomed", customer=who.id)

    told("newcomer", subscribe(customer("newcomer"), plan("Welcome", "month", 999), quantity=4).id)
    told("latecomer", subscribe(customer("latecomer"), plan("Late", "year", 12345)).id)

    _, sub = find("monthly")
    stripe.Subscription.cancel(sub.id)
    told("monthly", sub.id)

    # Another interval is billed at once.
    _, sub = find("weekly")
    stripe.Subscription.modify(sub.id, items=item(sub, plan=plan("Market Hall", "year", 60000)))
    told("weekly", sub.id)

    # More seats are billed by an invoice of their own.
    who, sub = find("quantity")
    stripe.Subscription.modify(sub.id, items=item(sub, quantity=10))
    invoice = stripe.Invoice.create(customer=who.id, subscription=sub.id)
    stripe.Invoice.pay(invoice.id)
    told("quantity", sub.id)

    # The open invoice is paid after all.
    who, sub = find("past-due")
    use_card(who.id, GOOD_CARD)
    stripe.Invoice.pay(sub.latest_invoice)
    told("past-due", sub.id)

    who, sub = find("yearly")
    discount(who.id, "FIFTH")
    told("yearly", sub.id)


def in_silence():
    _, sub = find("percent")
    stripe.Subscription.modify(sub.id, items=item(sub, quantity=5))
    told("percent", sub.id)

    who, sub = find("eur")
    stripe.Refund.create(charge=stripe.Charge.list(customer=who.id).data[0].id)
    told("eur", sub.id)

    _, sub = find("cancel-at-period-end")
    stripe.Subscription.modify(sub.id, cancel_at_period_end=False)
    told("cancel-at-period-end", sub.id)

    _, sub = find("amount")
    stripe.Subscription.modify(sub.id, cancel_at_period_end=True)
    told("amount", sub.id)

    _, sub = find("free")
    stripe.Product.modify(sub["items"].data[0].plan.product, name="Community")
    told("free", sub.id)


if __name__ == "__main__":
    connect(sys.argv[1])
    {"told": by_event, "silent": in_silence}[sys.argv[2]]()
