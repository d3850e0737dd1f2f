//! Health scores: four signals, each 0 to 100, and their weighted mean.
//!
//! Pure: the same signals on the same day give the same score. Every figure is exact and rounded half up once.
//! The rules H1 to H7 are the reference's, O1 to O10 are ours where it prints none; both are in `docs/health.md`.

pub mod cases;

mod explain;
mod settings;

pub use explain::explain_health;
pub use settings::{
    ActivityRule, Entities, HealthSettings, PaymentRule, Preset, STATUSES, SentimentRule, SupportRule, Tiers,
    Weights,
};

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize, Serializer};

use super::exact::Exact;

/// One of the four things that a score is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// How many and how lately users were active.
    Activity,
    /// How many tickets wait.
    Support,
    /// What conversations and ratings sound like.
    Sentiment,
    /// How the subscription stands.
    Payment,
}

impl Signal {
    /// All of them, in the order of [`HealthSettings::effective_weights`].
    pub const ALL: [Self; 4] = [Self::Activity, Self::Support, Self::Sentiment, Self::Payment];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::Support => "support",
            Self::Sentiment => "sentiment",
            Self::Payment => "payment",
        }
    }
}

/// How healthy (H6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The best.
    Healthy,
    /// Between.
    Neutral,
    /// Worth a look.
    AtRisk,
    /// The worst.
    Critical,
    /// There is no score.
    NotScored,
}

impl Tier {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Neutral => "neutral",
            Self::AtRisk => "at_risk",
            Self::Critical => "critical",
            Self::NotScored => "not_scored",
        }
    }

    fn of(score: i64, tiers: Tiers) -> Self {
        if score >= i64::from(tiers.healthy) {
            Self::Healthy
        } else if score >= i64::from(tiers.neutral) {
            Self::Neutral
        } else if score >= i64::from(tiers.at_risk) {
            Self::AtRisk
        } else {
            Self::Critical
        }
    }
}

/// Why there is no score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotScored {
    /// The subscription status is not one of those that are scored (H7).
    Ineligible,
    /// No signal that weighs anything has data (O6).
    NoData,
}

/// What is known of a company, or of one user (O10), that its score is made of. `None` is no data, which is not 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthInputs {
    /// The UTC day that is asked about.
    pub today: NaiveDate,
    /// How many people there are (R15): the number of users, where nothing else is said. 1 for a user.
    pub team_size: u64,
    /// The last day of each user that was active at all, in any order; `None` where users are not known.
    pub last_seen: Option<Vec<NaiveDate>>,
    /// The tickets that wait; `None` until the organisation has tickets at all (O9).
    pub tickets: Option<TicketLoad>,
    /// Sum and number of the sentiments of conversations, each -1 to 1.
    pub transcripts: Option<(Exact, u64)>,
    /// Positive ratings, and all of them.
    pub feedback: Option<(u64, u64)>,
    /// The company's subscription status (R8); `None` where no billing tool is connected.
    pub subscription_status: Option<String>,
    /// Whether a payment is overdue.
    pub delinquent: bool,
    /// Signals that are given and not counted: what each is, or that it has no data.
    pub given: [Option<Option<Exact>>; 4],
}

/// Tickets that wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TicketLoad {
    /// Those of priority.
    pub priority: u64,
    /// All others.
    pub open: u64,
}

impl TicketLoad {
    /// Counts a ticket, if it waits.
    pub fn count(&mut self, rule: &SupportRule, status: &str, priority: Option<&str>) {
        if !rule.open_statuses.contains(status) {
            return;
        }
        if priority.is_some_and(|word| rule.priorities.contains(word)) {
            self.priority += 1;
        } else {
            self.open += 1;
        }
    }
}

/// A score, and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// 0 to 100; `None` where there is none.
    pub score: Option<i64>,
    /// The tier of the rounded score.
    pub tier: Tier,
    /// Why there is no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_scored: Option<NotScored>,
    /// The four signals, in the order of [`Signal::ALL`].
    pub signals: Vec<SignalLine>,
    /// The first UTC day on which the score is another if nothing but time goes by.
    pub next_turn: Option<NaiveDate>,
}

/// One signal of a score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignalLine {
    /// Which.
    pub signal: Signal,
    /// 0 to 100; `None` without data.
    #[serde(serialize_with = "two_places")]
    pub value: Option<Exact>,
    /// What it weighs as set.
    #[serde(serialize_with = "as_number")]
    pub weight: Exact,
    /// What it brings to the score: its value times its share of the weights that have data.
    #[serde(serialize_with = "two_places")]
    pub points: Option<Exact>,
    /// The rules behind its value.
    pub rule: &'static str,
    /// What its value was counted from, in words.
    pub inputs: Vec<String>,
}

/// Scores a company or user.
///
/// `settings` must have passed [`HealthSettings::check`].
pub fn health(inputs: &HealthInputs, settings: &HealthSettings) -> Health {
    let mut health = score(inputs, settings);
    health.next_turn = next_turn(inputs, settings, health.score);
    health
}

fn score(inputs: &HealthInputs, settings: &HealthSettings) -> Health {
    let weights = settings.effective_weights();
    let counted = [
        activity(inputs, settings),
        support(inputs, settings),
        sentiment(inputs, settings),
        payment(inputs, settings),
    ];
    let mut signals: Vec<SignalLine> = Signal::ALL
        .into_iter()
        .zip(counted)
        .zip(weights)
        .zip(&inputs.given)
        .map(|(((signal, counted), weight), given)| {
            let (value, inputs) = match given {
                Some(value) => (value.clone(), vec!["given".to_owned()]),
                None => counted,
            };
            SignalLine { signal, value, weight, points: None, rule: rule(signal), inputs }
        })
        .collect();
    let known: Exact = signals.iter().filter(|line| line.value.is_some()).map(|line| &line.weight).sum();
    let status = inputs.subscription_status.as_deref().unwrap_or("none");
    let not_scored = if settings.gating && !settings.eligible_statuses.contains(status) {
        Some(NotScored::Ineligible)
    } else if known.is_zero() {
        Some(NotScored::NoData)
    } else {
        None
    };
    if not_scored.is_some() {
        return Health { score: None, tier: Tier::NotScored, not_scored, signals, next_turn: None };
    }
    for line in &mut signals {
        line.points = line.value.as_ref().map(|value| (value * &line.weight).over(&known));
    }
    let exact: Exact = signals.iter().filter_map(|line| line.points.as_ref()).sum();
    let score = exact.to_minor();
    let tier = score.map_or(Tier::NotScored, |score| Tier::of(score, settings.tiers));
    Health { score, tier, not_scored: None, signals, next_turn: None }
}

fn rule(signal: Signal) -> &'static str {
    match signal {
        Signal::Activity => "H2, O1, O2",
        Signal::Support => "H3, O3, O4, O9",
        Signal::Sentiment => "H4, O5",
        Signal::Payment => "H5, O8",
    }
}

type Counted = (Option<Exact>, Vec<String>);

/// Two values by their shares; where one has no data, the other alone.
fn blend(one: Option<Exact>, its: u32, other: Option<Exact>, others: u32) -> Option<Exact> {
    let parts = [(one, its), (other, others)];
    let known: Vec<_> = parts
        .iter()
        .filter_map(|(value, share)| Some((value.as_ref()?, Exact::from(i64::from(*share)))))
        .filter(|(_, share)| !share.is_zero())
        .collect();
    let shares: Exact = known.iter().map(|(_, share)| share).sum();
    if shares.is_zero() {
        return None;
    }
    Some(known.iter().map(|(value, share)| *value * share).sum::<Exact>().over(&shares))
}

/// H2: the share of users that were active in the window, and how lately the last one was.
fn activity(inputs: &HealthInputs, settings: &HealthSettings) -> Counted {
    let Some(seen) = &inputs.last_seen else {
        return (None, vec!["no users are known".to_owned()]);
    };
    // A team of nobody is no data, not nobody active (O2).
    if inputs.team_size == 0 {
        return (None, vec!["no users are linked".to_owned()]);
    }
    let window = i64::from(settings.activity_window_days);
    // A clock that is ahead is today.
    let ages = || seen.iter().map(|day| inputs.today.signed_duration_since(*day).num_days().max(0));
    let active = ages().filter(|age| *age < window).count() as u64;
    let ratio = Exact::ratio(i128::from(active.min(inputs.team_size)) * 100, i128::from(inputs.team_size));
    let latest = ages().min();
    let recency = latest.map_or_else(Exact::zero, |age| {
        Exact::ratio(i128::from(window - age) * 100, i128::from(window)).floored_at_zero()
    });
    let rule = settings.activity;
    let said = vec![
        format!("{active} of {} users active in {window} days", inputs.team_size),
        match latest {
            Some(0) => "last active today".to_owned(),
            Some(1) => "last active yesterday".to_owned(),
            Some(age) => format!("last active {age} days ago"),
            None => "never active".to_owned(),
        },
    ];
    (blend(Some(ratio), rule.active_users, Some(recency), rule.recency), said)
}

/// H3: 100, less what waiting tickets cost.
fn support(inputs: &HealthInputs, settings: &HealthSettings) -> Counted {
    let Some(load) = inputs.tickets else {
        return (None, vec!["no tickets are known of anybody".to_owned()]);
    };
    let rule = &settings.support;
    let team = inputs.team_size.max(1);
    let capped = |cost: Exact, cap: u32| cost.min(Exact::from(i64::from(cap)));
    let priority =
        capped(Exact::from(i128::from(load.priority) * i128::from(rule.priority_cost)), rule.priority_cap);
    let open = capped(
        Exact::ratio(i128::from(load.open) * i128::from(rule.open_cost), i128::from(team)),
        rule.open_cap,
    );
    let said = vec![
        format!("{} priority tickets wait: less {}", load.priority, Places(&priority)),
        format!("{} others wait for {team} people: less {}", load.open, Places(&open)),
    ];
    let value = (&(&Exact::from(100i64) - &priority) - &open).floored_at_zero();
    (Some(value), said)
}

/// H4: the mean sentiment of conversations and the share of positive ratings.
fn sentiment(inputs: &HealthInputs, settings: &HealthSettings) -> Counted {
    let rule = settings.sentiment;
    let mut said = Vec::new();
    let transcripts = inputs.transcripts.as_ref().filter(|(_, count)| *count > 0).map(|(sum, count)| {
        let mean = sum.over(&Exact::from(*count));
        said.push(format!("mean sentiment of {count} conversations {}", Places(&mean)));
        // -1 to 1 becomes 0 to 100 (O5).
        &(&mean + &Exact::from(1i64)) * &Exact::from(50i64)
    });
    let feedback = inputs.feedback.filter(|(_, all)| *all > 0).map(|(positive, all)| {
        said.push(format!("{positive} of {all} ratings positive"));
        Exact::ratio(i128::from(positive) * 100, i128::from(all))
    });
    if said.is_empty() {
        said.push("no rated conversations".to_owned());
    }
    (blend(transcripts, rule.transcripts, feedback, rule.feedback), said)
}

/// H5: what the subscription status is worth.
fn payment(inputs: &HealthInputs, settings: &HealthSettings) -> Counted {
    let Some(status) = inputs.subscription_status.as_deref() else {
        return (None, vec!["no billing tool is connected".to_owned()]);
    };
    let rule = &settings.payment;
    let Some(points) = rule.points.get(status) else {
        return (None, vec![format!("subscription {status}")]);
    };
    let mut said = vec![format!("subscription {status}: {points}")];
    let mut points = *points;
    if inputs.delinquent {
        said.push(format!("a payment is overdue: at most {}", rule.delinquent_cap));
        points = points.min(rule.delinquent_cap);
    }
    (Some(Exact::from(i64::from(points))), said)
}

/// The first day on which the rounded score is another. Nothing but the age of activity depends on the day, and
/// that only ever lowers the score: so it is found by halving.
fn next_turn(inputs: &HealthInputs, settings: &HealthSettings, now: Option<i64>) -> Option<NaiveDate> {
    now?;
    let later = |days: u64| inputs.today.checked_add_days(Days::new(days));
    let turned = |days: u64| {
        later(days)
            .is_some_and(|today| score(&HealthInputs { today, ..inputs.clone() }, settings).score != now)
    };
    // Activity that a clock ahead of ours put into the future begins to age on its day.
    let ahead = inputs
        .last_seen
        .iter()
        .flatten()
        .max()
        .map_or(0, |day| u64::try_from(day.signed_duration_since(inputs.today).num_days()).unwrap_or(0));
    let (mut same, mut other) = (0, ahead + u64::from(settings.activity_window_days));
    if !turned(other) {
        return None;
    }
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if turned(middle) {
            other = middle;
        } else {
            same = middle;
        }
    }
    later(other)
}

/// At most two places, as people write it: `62.5`, `70`.
struct Places<'a>(&'a Exact);

impl std::fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hundredths = (self.0 * &Exact::from(100i64)).to_minor().unwrap_or_default();
        let (sign, size) = (if hundredths < 0 { "-" } else { "" }, hundredths.unsigned_abs());
        match (size / 100, size % 100) {
            (whole, 0) => write!(f, "{sign}{whole}"),
            (whole, part) if part % 10 == 0 => write!(f, "{sign}{whole}.{}", part / 10),
            (whole, part) => write!(f, "{sign}{whole}.{part:02}"),
        }
    }
}

fn as_number<S: Serializer>(value: &Exact, s: S) -> Result<S::Ok, S::Error> {
    let text = Places(value).to_string();
    match text.parse::<i64>() {
        Ok(whole) => s.serialize_i64(whole),
        // Two places are always the shortest text of the float that is nearest.
        Err(_) => s.serialize_f64(text.parse().map_err(serde::ser::Error::custom)?),
    }
}

#[expect(clippy::ref_option, reason = "serde calls it with the field")]
fn two_places<S: Serializer>(value: &Option<Exact>, s: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => as_number(value, s),
        None => s.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
