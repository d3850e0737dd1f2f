"""Fills a localstripe with named subscriptions, each of a company of its own.

usage: fill.py http://127.0.0.1:PORT

Prints one JSON line for each name: customer, subscription(s), and the times that the server gave. The
figures that must come out stand in the Rust test, worked by hand; nothing is computed here.
"""

import sys

import stripe
from shop import (
    DAY,
    DECLINED_CARD,
    connect,
    customer,
    discount,
    now,
    plan,
    say,
    subscribe,
    told,
    use_card,
)


def simple(name, plan_id, quantity=1, **more):
    told(name, subscribe(customer(name), plan_id, quantity, **more).id)


def discounted(name, plan_id, coupon, months=None, quantity=1):
    who = customer(name)
    sub = subscribe(who, plan_id, quantity)
    discount(who, coupon, months)
    told(name, sub.id)


def main():
    connect(sys.argv[1])

    # Intervals.
    simple("monthly", plan("Team", "month", 4900))
    simple("yearly", plan("Scale", "year", 100000))
    simple("weekly", plan("Market Stall", "week", 1000))
    simple("daily", plan("Day Pass", "day", 100))
    # The period of localstripe is one interval whatever interval_count says; begun 20 days ago it ends in
    # 8 to 11 days.
    simple("quarterly", plan("Season", "month", 29999, interval_count=3),
           backdate_start_date=now() - 20 * DAY)
    simple("biweekly", plan("Fortnight", "week", 1000, interval_count=2))

    # Quantities and tiers.
    simple("quantity", plan("Seats", "month", 1250), quantity=7)
    simple("graduated", plan("Steps", "month", billing_scheme="tiered", tiers_mode="graduated", tiers=[
        {"up_to": 10, "unit_amount": 500, "flat_amount": 0},
        {"up_to": "inf", "unit_amount": 300, "flat_amount": 0},
    ]), quantity=25)
    simple("volume", plan("Bulk", "month", billing_scheme="tiered", tiers_mode="volume", tiers=[
        {"up_to": 10, "unit_amount": 800, "flat_amount": 0},
        {"up_to": "inf", "unit_amount": 600, "flat_amount": 2000},
    ]), quantity=25)
    simple("free", plan("Free", "month", 0))

    # Coupons.
    stripe.Coupon.create(id="QUARTER", percent_off=25, duration="forever")
    stripe.Coupon.create(id="FIFTEEN", amount_off=1500, currency="usd", duration="forever")
    stripe.Coupon.create(id="HALF-6M", percent_off=50, duration="repeating", duration_in_months=6)
    stripe.Coupon.create(id="TENTH-12M", percent_off=10, duration="repeating", duration_in_months=12)
    stripe.Coupon.create(id="FIRST", percent_off=100, duration="once")
    stripe.Coupon.create(id="FIFTH", percent_off=20, duration="forever")
    discounted("percent", plan("Percent Off", "month", 2000), "QUARTER", quantity=3)
    discounted("amount", plan("Amount Off", "month", 10000), "FIFTEEN")
    discounted("repeating", plan("Half A Year", "month", 4000), "HALF-6M", months=6)
    discounted("repeating-yearly", plan("First Year", "year", 120000), "TENTH-12M", months=12)
    discounted("once", plan("First Month", "month", 3000), "FIRST", months=1)

    # Statuses.
    simple("trial", plan("Tryout", "month", 9900), trial_end=now() + 14 * DAY)
    sub = subscribe(customer("canceled"), plan("Left", "month", 2500))
    stripe.Subscription.cancel(sub.id)
    told("canceled", sub.id)
    sub = subscribe(customer("cancel-at-period-end"), plan("Leaving", "month", 6000))
    stripe.Subscription.modify(sub.id, cancel_at_period_end=True)
    told("cancel-at-period-end", sub.id)
    sub = subscribe(customer("cancel-at"), plan("Leaving Later", "month", 7000))
    cancel_at = now() + 45 * DAY
    stripe.Subscription.modify(sub.id, cancel_at=cancel_at)
    told("cancel-at", sub.id, cancel_at=cancel_at)
    # The first month is paid; the change to a yearly plan is billed to a card that declines.
    who = customer("past-due")
    sub = subscribe(who, plan("Monthly Care", "month", 2000))
    use_card(who, DECLINED_CARD)
    stripe.Subscription.modify(sub.id, items=[{
        "id": sub["items"].data[0].id, "plan": plan("Yearly Care", "year", 20000),
    }])
    told("past-due", sub.id)
    sub = subscribe(customer("incomplete", DECLINED_CARD), plan("Never Paid", "month", 3300))
    told("incomplete", sub.id)
    sub = subscribe(customer("incomplete-expired", DECLINED_CARD), plan("Given Up", "month", 3400))
    stripe.Invoice.void_invoice(stripe.Subscription.retrieve(sub.id).latest_invoice)
    told("incomplete-expired", sub.id)

    # Currencies and taxes.
    simple("eur", plan("Équipe", "month", 1999, currency="eur"))
    simple("jpy", plan("チーム", "month", 5000, currency="jpy"))
    on_top = stripe.TaxRate.create(display_name="VAT", inclusive=False, percentage=20)
    within = stripe.TaxRate.create(display_name="VAT", inclusive=True, percentage=20)
    simple("tax-on-top", plan("Taxed", "month", 5000), default_tax_rates=[on_top.id])
    simple("tax-within", plan("Tax Within", "month", 6000), default_tax_rates=[within.id])

    # One customer with two subscriptions; two customers of one company.
    who = customer("two-subscriptions")
    first = subscribe(who, plan("Small Add-on", "month", 1500))
    second = subscribe(who, plan("Main Contract", "year", 36000))
    told("two-subscriptions", second.id, other=first.id)
    first = subscribe(customer("two-customers"), plan("Berlin Office", "month", 1100))
    second = subscribe(customer("two-customers"), plan("Paris Office", "month", 2200))
    told("two-customers", second.id, other=first.id, other_customer=first.customer)

    # Money: a refund; a customer without subscription who paid in every way.
    sub = subscribe(customer("refunded"), plan("Half Back", "month", 8000))
    charge = stripe.Charge.list(customer=sub.customer).data[0]
    stripe.Refund.create(charge=charge.id, amount=3000)
    told("refunded", sub.id, charge=charge.id)
    who = customer("no-subscription")
    stripe.Charge.create(customer=who, amount=1234, currency="usd")
    stripe.Charge.create(customer=who, amount=500, currency="usd", capture=False)
    part = stripe.Charge.create(customer=who, amount=1000, currency="usd", capture=False)
    stripe.Charge.capture(part.id, amount=400)
    use_card(who, DECLINED_CARD)
    try:
        stripe.Charge.create(customer=who, amount=999, currency="usd")
    except stripe.CardError:
        pass
    else:
        sys.exit("a charge of a declined card went through")
    say("no-subscription", customer=who)

    # Twelve things sold once, on the first invoice of a subscription: more lines than an invoice shows.
    who = customer("long-invoice")
    for n in range(12):
        stripe.InvoiceItem.create(customer=who, amount=100, currency="usd", description=f"Hour {n + 1}")
    told("long-invoice", subscribe(who, plan("Hours", "month", 1000)).id)

    # Changed later on, by change.py.
    simple("doomed", plan("Doomed", "month", 4400))


if __name__ == "__main__":
    main()
