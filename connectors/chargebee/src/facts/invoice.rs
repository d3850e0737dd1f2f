//! Invoices.

use connector_sdk::facts::{Invoice, InvoiceLine, InvoiceStatus};
use connector_sdk::{Extract, Fact};
use serde::Deserialize;

use super::{instant, minor, party};

#[derive(Deserialize)]
pub(super) struct Object {
    id: String,
    customer_id: String,
    subscription_id: Option<String>,
    #[serde(default)]
    recurring: bool,
    #[serde(default)]
    first_invoice: bool,
    status: String,
    currency_code: Option<String>,
    date: Option<i64>,
    paid_at: Option<i64>,
    write_off_amount: Option<i64>,
    #[serde(default)]
    line_items: Option<Vec<Line>>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    #[serde(default)]
    amount: i64,
    entity_id: Option<String>,
    entity_type: Option<String>,
    date_from: Option<i64>,
    date_to: Option<i64>,
}

pub(super) fn facts(invoice: Object) -> Extract {
    let written_off = invoice.write_off_amount.is_some_and(|amount| amount > 0);
    let status = match invoice.status.as_str() {
        "pending" => InvoiceStatus::Draft,
        // A written-off invoice is called paid: nothing is due any more.
        "paid" if written_off => InvoiceStatus::Uncollectible,
        "paid" => InvoiceStatus::Paid,
        "posted" | "payment_due" | "not_paid" => InvoiceStatus::Open,
        "voided" => InvoiceStatus::Void,
        _ => InvoiceStatus::Unknown,
    };
    let there = invoice.line_items.is_some();
    let currency = invoice.currency_code.map(|code| code.to_ascii_lowercase());
    let lines = invoice.line_items.unwrap_or_default().into_iter().map(|line| InvoiceLine {
        // The kinds of lines that stand for an item price of the subscription.
        subscription_item: line
            .entity_id
            .filter(|_| matches!(line.entity_type.as_deref(), Some("plan_item_price" | "addon_item_price"))),
        id: line.id,
        amount: minor(line.amount, currency.as_deref()),
        proration: false,
        period_start: instant(line.date_from),
        period_end: instant(line.date_to),
    });
    let fact = Invoice {
        id: invoice.id,
        account: Some(invoice.customer_id.clone()),
        subscription: invoice.subscription_id,
        status,
        cycle: invoice.recurring && !invoice.first_invoice,
        currency: currency.clone(),
        mode: None,
        test_clock: None,
        created: instant(invoice.date),
        paid_at: instant(invoice.paid_at),
        paid_outside: None,
        discounts: Vec::new(),
        lines: lines.collect(),
        lines_incomplete: !there,
    };
    let facts = vec![Fact::Invoice(Box::new(fact))];
    Extract { facts, refs: Vec::new(), party: party(&invoice.customer_id) }
}
