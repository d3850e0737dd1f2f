//! Everything of one customer.

use connector_sdk::{Batch, ConnectorError, RecordKey};
use serde::Deserialize;

use super::{From, Listed, One, StripeSession};
use crate::object::{self, Item, List};
use crate::streams;

/// Streams that can be listed by customer.
const OF_CUSTOMER: [&str; 4] = ["subscriptions", "invoices", "charges", "subscription_schedules"];
/// Pages of one list, of 100 objects each; longer ones never end.
const PAGES: usize = 10_000;

/// What of a charge says that there is more to read.
#[derive(Deserialize)]
struct ChargeHead {
    #[serde(default)]
    amount_refunded: i64,
    #[serde(default)]
    disputed: bool,
}

impl StripeSession {
    /// The customer, its subscriptions, invoices, charges and schedules, and of its charges the refunds and
    /// disputes.
    pub(super) async fn party(&self, party: &RecordKey) -> Result<Batch, ConnectorError> {
        if party.stream != "customers" {
            return Err(ConnectorError::Config(format!("Stripe has no parties in {:?}", party.stream)));
        }
        let mut batch = Batch::default();
        let (n, customers) = streams::find("customers")?;
        match self.read_one(n, customers, &party.id).await? {
            One::Live(record) => batch.records.push(record),
            One::Gone(key) => batch.tombstones.push(key),
            One::Bad(rejected) => batch.rejected.push(rejected),
            // Nothing of a test clock is kept, nor what hangs on it.
            One::KeptOut => return Ok(batch),
        }
        for stream in OF_CUSTOMER {
            self.all_of(stream, ("customer", &party.id), &mut batch).await?;
        }
        let charges: Vec<(String, ChargeHead)> = batch
            .records
            .iter()
            .filter(|record| record.key.stream == "charges")
            .filter_map(|record| {
                serde_json::from_str(record.payload.get()).ok().map(|head| (record.key.id.clone(), head))
            })
            .collect();
        for (charge, head) in charges {
            if head.amount_refunded > 0 {
                self.all_of("refunds", ("charge", &charge), &mut batch).await?;
            }
            if head.disputed {
                self.all_of("disputes", ("charge", &charge), &mut batch).await?;
            }
        }
        Ok(batch)
    }

    /// Every object of a stream with that member. A stream that this server does not offer, or that the key may not
    /// read, has none here: check and runs say so.
    async fn all_of(
        &self,
        stream: &str,
        filter: (&str, &str),
        batch: &mut Batch,
    ) -> Result<(), ConnectorError> {
        let (n, stream) = streams::find(stream)?;
        let mut after: Option<String> = None;
        for _ in 0..PAGES {
            let from = From { after: after.as_deref(), filter: Some(filter), probe: true, ..From::default() };
            let answer = match self.list(n, stream, from, 100).await {
                Ok(Listed::Page(answer)) => answer,
                Ok(Listed::Forbidden(_)) | Err(ConnectorError::NotOffered(_)) => return Ok(()),
                Ok(Listed::CursorGone) => {
                    let why = format!("{}: an object went while its list was read", stream.list);
                    return Err(ConnectorError::Transient(why));
                }
                Err(error) => return Err(error),
            };
            let list: List<'_> = answer.json()?;
            let mut last = None;
            for raw in &list.data {
                match object::read(stream, raw.get()) {
                    Item::Live(id, head) => {
                        let text = self.complete(stream, &id, &head, raw.get()).await?;
                        last = Some(id.clone());
                        batch.records.push(object::record(stream, id, text)?);
                    }
                    Item::Deleted(id) => {
                        last = Some(id.clone());
                        batch.tombstones.push(RecordKey::new(stream.spec.name, id));
                    }
                    Item::OnClock(id) => last = Some(id),
                    Item::Bad(rejected) => {
                        last = rejected.id.clone().or(last);
                        batch.rejected.push(rejected);
                    }
                }
            }
            if !list.has_more {
                return Ok(());
            }
            if last.is_none() || last == after {
                break;
            }
            after = last;
        }
        Err(ConnectorError::Protocol(format!("{}: the list never ends", stream.list)))
    }
}
