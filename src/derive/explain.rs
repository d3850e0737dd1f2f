//! A derivation as text for people: the sum behind the MRR line by line, and why every value is what it is.

use std::fmt::Write as _;

use serde_json::Value;

use super::currency::{exponent, major_text};
use super::document::{Derivation, Missing, MrrSubscription};
use super::exact::Exact;

/// The text of `derive --explain`. Ends in a line break.
pub fn explain(derivation: &Derivation) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(derivation, &mut text);
    text
}

/// An exact amount of minor units: in major units where it is whole, else as a fraction of minor units too.
fn money(amount: &Exact, currency: &str) -> String {
    let code = currency.to_ascii_uppercase();
    match amount.to_minor() {
        Some(minor) if Exact::from(minor) == *amount => format!("{} {code}", major_text(minor, currency)),
        Some(minor) => format!("{} {code} (exactly {amount})", major_text(minor, currency)),
        None => format!("{amount} minor units of {code}"),
    }
}

fn write(d: &Derivation, out: &mut String) -> std::fmt::Result {
    let v = &d.values;
    if d.test {
        writeln!(out, "TEST: these figures come from test objects.\n")?;
    }
    let currency = v.currency.as_deref().unwrap_or("");
    match v.mrr_minor {
        Some(mrr) if !currency.is_empty() => {
            writeln!(out, "MRR {} {}", major_text(mrr, currency), currency.to_ascii_uppercase())?;
        }
        Some(mrr) => writeln!(out, "MRR {mrr}")?,
        None => writeln!(out, "MRR unknown: a part is missing")?,
    }
    for gap in &d.missing {
        writeln!(out, "  missing: {}", missing(gap))?;
    }
    for s in &d.mrr.subscriptions {
        subscription(s, out)?;
    }
    sum(d, out)?;

    writeln!(out)?;
    let Ok(Value::Object(values)) = serde_json::to_value(v) else { return Ok(()) };
    for (field, value) in &values {
        let Some(p) = d.why(field) else {
            writeln!(out, "{field}: {value}")?;
            continue;
        };
        writeln!(out, "{field}: {value}  [{}]", p.rule)?;
        if field != "mrr_minor" {
            for record in &p.records {
                writeln!(out, "  from {record}")?;
            }
            for (name, input) in &p.inputs {
                writeln!(out, "  {name} = {input}")?;
            }
            for loser in &p.losers {
                writeln!(out, "  not {} of {}: {}", loser.value, loser.source, loser.why)?;
            }
        }
    }
    if let Some(turn) = d.next_turn {
        writeln!(out, "\nTime alone may change a value from {} on.", turn.to_rfc3339())?;
    }
    Ok(())
}

fn missing(gap: &Missing) -> String {
    match &gap.id {
        Some(id) => format!("{} {id} of {} (for {})", gap.what, gap.of, gap.field),
        None => format!("{} of {} (for {})", gap.what, gap.of, gap.field),
    }
}

fn subscription(s: &MrrSubscription, out: &mut String) -> std::fmt::Result {
    let currency = s.currency.as_deref().unwrap_or("");
    write!(out, "  {} ({})", s.record, s.status)?;
    if let Some(why) = &s.left_out {
        return writeln!(out, ": not counted, {why}");
    }
    match &s.per_month {
        Some(sum) => writeln!(out, ": {} a month", money(sum, currency))?,
        None => writeln!(out, ": unknown")?,
    }
    for line in &s.lines {
        writeln!(
            out,
            "    {} x {} every {}: {}",
            line.quantity,
            line.name,
            line.every,
            money(&line.gross, currency)
        )?;
        for discount in &line.discounts {
            writeln!(
                out,
                "      - {} coupon {} ({})",
                money(&discount.off, currency),
                discount.coupon,
                discount.terms
            )?;
        }
        if !line.tax.is_zero() {
            writeln!(out, "      - {} tax inside the price", money(&line.tax, currency))?;
        }
        writeln!(
            out,
            "      = {} x {} = {} a month",
            money(&line.net, currency),
            line.factor,
            money(&line.per_month, currency)
        )?;
    }
    for ignored in &s.ignored {
        writeln!(out, "    not taken off: coupon {ignored}")?;
    }
    Ok(())
}

fn sum(d: &Derivation, out: &mut String) -> std::fmt::Result {
    let Some(exact) = &d.mrr.exact else { return Ok(()) };
    let currency = d.values.currency.as_deref().unwrap_or("");
    if d.mrr.currencies.len() > 1 || d.mrr.currencies.iter().any(|c| c.currency != currency) {
        for c in &d.mrr.currencies {
            write!(out, "  {}", money(&c.per_month, &c.currency))?;
            match &c.converted {
                Some(converted) if c.currency != currency => {
                    writeln!(out, " = {}", money(converted, currency))?;
                }
                Some(_) => writeln!(out)?,
                None => writeln!(out, ": another currency, never added")?,
            }
        }
    }
    let places = 10i64.pow(exponent(currency));
    writeln!(
        out,
        "  sum {exact} minor units{}, rounded half up once",
        if places > 1 { format!(" (1/{places})") } else { String::new() }
    )
}
