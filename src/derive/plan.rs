//! The plan's name and the order of subscriptions (R10).

use connector_sdk::facts::Subscription;

use super::amount::PriceView;
use super::book::{Book, Of};
use super::currency::Conversion;
use super::exact::Exact;
use super::inputs::Inputs;
use super::subscription::{Item, Valued};

/// The name of what an item sells: the product's, else the price's nickname, else its look-up key, else the
/// product's id.
pub(super) fn name<'a>(book: &Book<'a>, of: &Of<'a, Subscription>, price: &PriceView<'a>) -> Option<String> {
    let product = price.product();
    let known = product.and_then(|id| book.product(of.source, id));
    known
        .and_then(|p| p.fact.name.as_deref())
        .filter(|name| !name.is_empty())
        .or_else(|| price.nickname())
        .or_else(|| price.lookup_key())
        .or(product)
        .map(str::to_owned)
}

/// Whether the organisation says that an item is a plan, by the product's id or its metadata `plan=true`.
fn is_named_plan<'a>(
    inputs: &Inputs<'_>,
    book: &Book<'a>,
    of: &Of<'a, Subscription>,
    item: &Item<'a>,
) -> bool {
    let Some(id) = item.price.product() else { return false };
    inputs.settings.plan_product_ids.iter().any(|p| p == id)
        || book.product(of.source, id).is_some_and(|p| {
            p.fact.metadata.get("plan").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        })
}

/// The primary subscription and its primary item.
pub(super) struct Primary<'v, 'a> {
    pub(super) subscription: &'v Valued<'a>,
    pub(super) item: Option<&'v Item<'a>>,
}

/// What subscriptions are worth each month, in a unit that they are ranked by.
pub(super) fn ranks(inputs: &Inputs<'_>, of: &[&Valued<'_>]) -> Vec<Exact> {
    let amounts = of.iter().map(|v| (&v.per_month, v.currency.as_deref().unwrap_or_default()));
    Conversion::new(inputs.settings).comparable(amounts)
}

/// The highest monthly amount, the oldest among equals; `of` is sorted by age.
fn highest<'v, 'a>(inputs: &Inputs<'_>, of: &[&'v Valued<'a>]) -> Option<&'v Valued<'a>> {
    let ranked = ranks(inputs, of).into_iter().zip(of);
    ranked.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, v)| *v)
}

/// The item with the highest amount per month, the first one among equals. Metered items come last.
pub(super) fn primary_item<'v, 'a>(
    inputs: &Inputs<'_>,
    book: &Book<'a>,
    v: &'v Valued<'a>,
) -> Option<&'v Item<'a>> {
    let named = v.items.iter().any(|i| is_named_plan(inputs, book, &v.of, i));
    v.items
        .iter()
        .filter(|i| !named || is_named_plan(inputs, book, &v.of, i))
        .map(|i| ((!i.metered, i.gross_per_month.clone()), i))
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, i)| i)
}

/// The primary subscription: of those that run, else of those that rest, the one with a product that is
/// named as a plan, else the highest monthly amount.
pub(super) fn primary<'v, 'a>(
    inputs: &Inputs<'_>,
    book: &Book<'a>,
    all: &'v [Valued<'a>],
) -> Option<Primary<'v, 'a>> {
    let live = live(all);
    let is_named = |v: &&Valued<'a>| v.items.iter().any(|i| is_named_plan(inputs, book, &v.of, i));
    let named: Vec<_> = live.iter().copied().filter(is_named).collect();
    let subscription = highest(inputs, if named.is_empty() { &live } else { &named })?;
    Some(Primary { subscription, item: primary_item(inputs, book, subscription) })
}

/// Active, past due and trialing; when there is none, unpaid and paused.
pub(super) fn live<'v, 'a>(all: &'v [Valued<'a>]) -> Vec<&'v Valued<'a>> {
    let running: Vec<_> = all.iter().filter(|v| v.is_running()).collect();
    if running.is_empty() { all.iter().filter(|v| v.is_resting()).collect() } else { running }
}

/// The plan of the subscription that ended last.
pub(super) fn last_ended(inputs: &Inputs<'_>, book: &Book<'_>, all: &[Valued<'_>]) -> Option<String> {
    use connector_sdk::facts::SubscriptionStatus::Canceled;
    let ended = all
        .iter()
        .filter(|v| v.status == Canceled)
        .max_by_key(|v| (v.of.fact.ended_at.or(v.of.fact.canceled_at), v.of.fact.created))?;
    let item = primary_item(inputs, book, ended)?;
    name(book, &ended.of, &item.price)
}
