//! What the samples mean.

use connector_acme::Acme;

use connector_sdk::facts::{Decimal, SubscriptionStatus};
use connector_sdk::{Connector, Fact};

#[test]
fn a_subscription_says_what_it_costs() {
    let samples = Connector::samples(&Acme);
    let sample = samples.iter().find(|sample| sample.stream == "subscriptions").unwrap();
    let record = sample.records().unwrap().remove(0);
    let extract = Connector::facts(&Acme, &record).unwrap();
    let Some(Fact::Subscription(subscription)) = extract.facts.first() else {
        unreachable!("no subscription")
    };
    assert_eq!(subscription.status, SubscriptionStatus::Active);
    let item = &subscription.items[0];
    assert_eq!(item.quantity, Some(3));
    assert_eq!(item.price.as_ref().unwrap().amounts.unit, Some(Decimal::from(120_000)));
    assert_eq!(extract.party.unwrap().to_string(), "accounts/acc_000001");
}
