//! Lifetime value by what was settled, from an account's balance transactions.

use connector_testkit::sandbox::stripe::Kind;
use halo_sync::derive::{LtvMode, Settings};
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(settlement_counts_what_reached_the_balance);

async fn settlement_counts_what_reached_the_balance(app: &App) {
    app.price("Starter", 2_900);
    let (customer, _) = app.customer("Acme", "Starter");
    // Charged in euros and settled in dollars.
    let charge =
        app.call("POST", "/v1/charges", json!({"customer": customer, "currency": "eur", "amount": "10000"}));
    let charge = charge["id"].as_str().unwrap().to_owned();
    let settled = app.sandbox.object(Kind::Charges, &charge).unwrap()["balance_transaction"].clone();
    settle_in_dollars(app, &settled, 10_873);

    app.connected().await;
    let presented = app.document(&app.company("Acme").await).await;
    assert_eq!(presented["values"]["ltv_by_currency"], json!({"eur": 10_000, "usd": 2_900}), "{presented:#}");

    let settling = app.fresh_by(Settings { ltv_mode: LtvMode::Settlement, ..Settings::default() }).await;
    settling.read_once().await;
    let document = settling.document(&settling.company("Acme").await).await;
    assert_eq!(document["missing"], json!([]), "{document:#}");
    assert_eq!(document["values"]["ltv_by_currency"], json!({"usd": 13_773}));

    // Money back, and money claimed back: both in the next read, without a full one.
    let refund = app.call("POST", "/v1/refunds", json!({"charge": charge, "amount": "1000"}));
    settle_in_dollars(app, &refund["balance_transaction"], -1_087);
    let dollars =
        app.call("POST", "/v1/charges", json!({"customer": customer, "currency": "usd", "amount": "5000"}));
    app.sandbox.dispute(dollars["id"].as_str().unwrap()).unwrap();
    settling.sync(false).await;
    let document = settling.document(&settling.company("Acme").await).await;
    assert_eq!(document["missing"], json!([]), "{document:#}");
    // 29.00 of the subscription, 108.73 less 10.87, and a disputed charge that is back at nothing.
    assert_eq!(document["values"]["ltv_by_currency"], json!({"usd": 12_686}), "{document:#}");
    settling.end().await;
}

/// Not a word is sent about balance transactions.
fn settle_in_dollars(app: &App, transaction: &Value, amount: i64) {
    let mut doc = app.sandbox.object(Kind::BalanceTransactions, transaction.as_str().unwrap()).unwrap();
    doc["amount"] = json!(amount);
    doc["currency"] = json!("usd");
    app.sandbox.put(Kind::BalanceTransactions, doc, None);
}
