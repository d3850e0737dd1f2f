//! What an organisation may decide about its health scores.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use connector_sdk::facts::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::derive::exact::Exact;
use crate::derive::settings::SettingsError;

/// Every word of a company's `subscription_status`, best first (R8). `none` is that of a company without one.
pub const STATUSES: [&str; 9] = [
    "active",
    "past_due",
    "trialing",
    "unpaid",
    "paused",
    "incomplete",
    "canceled",
    "incomplete_expired",
    "none",
];

/// Who is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Entities {
    /// Companies.
    #[default]
    Companies,
    /// End users.
    Users,
    /// Both.
    Both,
}

/// Named weights. What each weighs is in `docs/health.md`; only those of `balanced` are published by the
/// reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Activity 40, support 25, sentiment 20, payment 15 (H1).
    #[default]
    Balanced,
    /// Activity 60, support 15, sentiment 15, payment 10.
    UsageFirst,
    /// Activity 25, support 45, sentiment 20, payment 10.
    SupportHeavy,
    /// Activity 25, support 20, sentiment 10, payment 45.
    RevenueFirst,
    /// As `balanced`, without payment: what is left keeps its proportions.
    NoBillingData,
}

impl Preset {
    /// All of them, in the order that they are offered in.
    pub const ALL: [Self; 5] =
        [Self::Balanced, Self::UsageFirst, Self::SupportHeavy, Self::RevenueFirst, Self::NoBillingData];

    /// What the signals weigh.
    pub fn weights(self) -> Weights {
        let of = |activity: i64, support: i64, sentiment: i64, payment: i64| Weights {
            activity: Some(Decimal::from(activity)),
            support: Some(Decimal::from(support)),
            sentiment: Some(Decimal::from(sentiment)),
            payment: Some(Decimal::from(payment)),
        };
        match self {
            Self::Balanced => of(40, 25, 20, 15),
            Self::UsageFirst => of(60, 15, 15, 10),
            Self::SupportHeavy => of(25, 45, 20, 10),
            Self::RevenueFirst => of(25, 20, 10, 45),
            Self::NoBillingData => of(40, 25, 20, 0),
        }
    }
}

/// What each signal weighs. Only proportions count; what is not said is the preset's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// How many and how lately users were active.
    #[serde(deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub activity: Option<Decimal>,
    /// How many tickets wait.
    #[serde(deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub support: Option<Decimal>,
    /// What conversations and ratings sound like.
    #[serde(deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub sentiment: Option<Decimal>,
    /// How the subscription stands.
    #[serde(deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub payment: Option<Decimal>,
}

impl Weights {
    /// These weights, and those of `other` where nothing is said.
    fn or(self, other: Self) -> Self {
        Self {
            activity: self.activity.or(other.activity),
            support: self.support.or(other.support),
            sentiment: self.sentiment.or(other.sentiment),
            payment: self.payment.or(other.payment),
        }
    }

    fn named(&self) -> [(&'static str, Option<Decimal>); 4] {
        [
            ("activity", self.activity),
            ("support", self.support),
            ("sentiment", self.sentiment),
            ("payment", self.payment),
        ]
    }
}

/// From which rounded score a tier begins (H6). Below `at_risk` is critical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tiers {
    /// Healthy from here to 100.
    pub healthy: u8,
    /// Neutral from here.
    pub neutral: u8,
    /// At risk from here.
    pub at_risk: u8,
}

impl Default for Tiers {
    fn default() -> Self {
        Self { healthy: 80, neutral: 60, at_risk: 40 }
    }
}

/// How activity is counted (H2). Only the proportion of the two counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ActivityRule {
    /// What the share of users that were active in the window weighs.
    pub active_users: u32,
    /// What the recency of the last activity weighs.
    pub recency: u32,
}

impl Default for ActivityRule {
    fn default() -> Self {
        Self { active_users: 60, recency: 40 }
    }
}

/// What tickets cost (H3, O3, O4), in points of 100.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SupportRule {
    /// Each waiting ticket of priority.
    pub priority_cost: u32,
    /// All of those together at most.
    pub priority_cap: u32,
    /// One waiting ticket without priority for each person of the team.
    pub open_cost: u32,
    /// All of those together at most.
    pub open_cap: u32,
    /// The statuses of a ticket that waits.
    pub open_statuses: BTreeSet<String>,
    /// The priorities that count as priority.
    pub priorities: BTreeSet<String>,
}

impl Default for SupportRule {
    fn default() -> Self {
        let words = |words: [&str; 2]| words.map(str::to_owned).into();
        Self {
            priority_cost: 15,
            priority_cap: 50,
            open_cost: 50,
            open_cap: 50,
            open_statuses: words(["open", "pending"]),
            priorities: words(["high", "urgent"]),
        }
    }
}

/// How sentiment is counted (H4). Only the proportion of the two counts; one without data leaves it to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SentimentRule {
    /// What the mean sentiment of conversations weighs.
    pub transcripts: u32,
    /// What the share of positive ratings weighs.
    pub feedback: u32,
}

impl Default for SentimentRule {
    fn default() -> Self {
        Self { transcripts: 50, feedback: 50 }
    }
}

/// What a subscription status is worth (O8), in points of 100.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PaymentRule {
    /// Points by status. A status without points leaves the signal missing.
    pub points: BTreeMap<String, u8>,
    /// The most that a delinquent customer has.
    pub delinquent_cap: u8,
}

impl Default for PaymentRule {
    fn default() -> Self {
        let points = [
            ("active", 100),
            ("trialing", 80),
            ("paused", 50),
            ("past_due", 40),
            ("incomplete", 30),
            ("unpaid", 10),
            ("canceled", 0),
            ("incomplete_expired", 0),
        ];
        Self { points: points.map(|(status, n)| (status.to_owned(), n)).into(), delinquent_cap: 40 }
    }
}

/// What an organisation may decide about its health scores. An unknown member is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// Who is scored.
    pub entities: Entities,
    /// Named weights.
    pub preset: Preset,
    /// Weights of your own, over the preset's.
    pub weights: Weights,
    /// Where the tiers begin.
    pub tiers: Tiers,
    /// Whether only companies of `eligible_statuses` are scored (H7).
    pub gating: bool,
    /// The subscription statuses that are scored.
    pub eligible_statuses: BTreeSet<String>,
    /// How many UTC days count as lately, today among them (O1).
    pub activity_window_days: u32,
    /// How activity is counted.
    pub activity: ActivityRule,
    /// What tickets cost.
    pub support: SupportRule,
    /// How sentiment is counted.
    pub sentiment: SentimentRule,
    /// What a subscription status is worth.
    pub payment: PaymentRule,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            entities: Entities::default(),
            preset: Preset::default(),
            weights: Weights::default(),
            tiers: Tiers::default(),
            gating: true,
            eligible_statuses: BTreeSet::from(["active".to_owned()]),
            activity_window_days: 30,
            activity: ActivityRule::default(),
            support: SupportRule::default(),
            sentiment: SentimentRule::default(),
            payment: PaymentRule::default(),
        }
    }
}

/// The longest window of activity, in days.
const LONGEST_WINDOW: u32 = 365;
/// The largest weight, share or cost.
const LARGEST: u32 = 1_000_000;

impl HealthSettings {
    /// What the signals weigh: [`HealthSettings::weights`] over the preset's, in the order activity, support,
    /// sentiment, payment.
    pub fn effective_weights(&self) -> [Exact; 4] {
        let all = self.weights.or(self.preset.weights());
        all.named().map(|(_, weight)| weight.map_or_else(Exact::zero, Exact::from))
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] names the member and what would be right.
    pub fn check(&self) -> Result<(), SettingsError> {
        let wrong = |member: &str, message: String| Err(SettingsError { member: member.to_owned(), message });
        for (name, weight) in self.weights.named() {
            let Some(weight) = weight else { continue };
            if weight.mantissa() < 0 || Exact::from(weight) > Exact::from(i64::from(LARGEST)) {
                return wrong(&format!("weights.{name}"), format!("expected 0 to {LARGEST}, found {weight}"));
            }
        }
        if self.effective_weights().iter().all(Exact::is_zero) {
            return wrong("weights", "expected at least one weight above 0".to_owned());
        }
        let tiers = self.tiers;
        if !(tiers.at_risk <= tiers.neutral && tiers.neutral <= tiers.healthy && tiers.healthy <= 100) {
            return wrong(
                "tiers",
                format!(
                    "expected at_risk <= neutral <= healthy <= 100, found {}, {}, {}",
                    tiers.at_risk, tiers.neutral, tiers.healthy
                ),
            );
        }
        for (member, words) in [
            ("eligible_statuses", self.eligible_statuses.iter().collect::<Vec<_>>()),
            ("payment.points", self.payment.points.keys().collect()),
        ] {
            if let Some(word) = words.into_iter().find(|word| !STATUSES.contains(&word.as_str())) {
                return wrong(member, format!("expected one of {}, found {word:?}", STATUSES.join(", ")));
            }
        }
        if self.gating && self.eligible_statuses.is_empty() {
            return wrong("eligible_statuses", "expected at least one, or gating = false".to_owned());
        }
        if !(1..=LONGEST_WINDOW).contains(&self.activity_window_days) {
            return wrong(
                "activity_window_days",
                format!("expected 1 to {LONGEST_WINDOW}, found {}", self.activity_window_days),
            );
        }
        let (a, s) = (self.activity, self.sentiment);
        for (member, one, other) in
            [("activity", a.active_users, a.recency), ("sentiment", s.transcripts, s.feedback)]
        {
            if one == 0 && other == 0 {
                return wrong(member, "expected at least one share above 0".to_owned());
            }
            if one > LARGEST || other > LARGEST {
                return wrong(member, format!("expected shares up to {LARGEST}"));
            }
        }
        let support = &self.support;
        for (name, points) in [
            ("priority_cost", support.priority_cost),
            ("priority_cap", support.priority_cap),
            ("open_cost", support.open_cost),
            ("open_cap", support.open_cap),
        ] {
            if points > 100 {
                return wrong(&format!("support.{name}"), format!("expected 0 to 100, found {points}"));
            }
        }
        let points = self.payment.points.iter().find(|(_, points)| **points > 100);
        if let Some((status, points)) = points {
            return wrong(&format!("payment.points.{status}"), format!("expected 0 to 100, found {points}"));
        }
        if self.payment.delinquent_cap > 100 {
            return wrong("payment.delinquent_cap", "expected 0 to 100".to_owned());
        }
        Ok(())
    }
}

/// A number of a settings file: its digits as they were written, which a float's shortest text gives back.
pub(super) fn number<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Decimal>, D::Error> {
    struct Number;

    impl<'de> de::Visitor<'de> for Number {
        type Value = Option<Decimal>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
            d.deserialize_any(self)
        }

        fn visit_i64<E: de::Error>(self, v: i64) -> Result<Self::Value, E> {
            Ok(Some(Decimal::from(v)))
        }

        fn visit_u64<E: de::Error>(self, v: u64) -> Result<Self::Value, E> {
            self.visit_str(&v.to_string())
        }

        fn visit_f64<E: de::Error>(self, v: f64) -> Result<Self::Value, E> {
            self.visit_str(&v.to_string())
        }

        fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
            v.parse().map(Some).map_err(E::custom)
        }
    }

    d.deserialize_any(Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HealthSettings, String> {
        let settings: HealthSettings = serde_json::from_str(text).map_err(|e| e.to_string())?;
        settings.check().map_err(|e| e.to_string())?;
        Ok(settings)
    }

    #[test]
    fn defaults_are_the_reference_s() {
        let settings = read("{}").unwrap();
        assert_eq!(settings, HealthSettings::default());
        assert_eq!(settings.effective_weights(), [40i64, 25, 20, 15].map(Exact::from));
        assert_eq!(read(&serde_json::to_string(&settings).unwrap()).unwrap(), settings);
    }

    #[test]
    fn own_weights_come_before_the_preset_s() {
        let settings = read(r#"{"preset": "usage_first", "weights": {"payment": 12.5}}"#).unwrap();
        let [activity, .., payment] = settings.effective_weights();
        assert_eq!((activity, payment), (Exact::from(60i64), Exact::ratio(25, 2)));
        assert_eq!(read(&serde_json::to_string(&settings).unwrap()).unwrap(), settings);
        for preset in Preset::ALL {
            let sum: Exact =
                preset.weights().named().into_iter().filter_map(|(_, w)| w.map(Exact::from)).sum();
            let whole = if preset == Preset::NoBillingData { 85i64 } else { 100 };
            assert_eq!(sum, Exact::from(whole), "{preset:?}");
        }
    }

    #[test]
    fn bad_settings_name_the_member() {
        for (text, member) in [
            (r#"{"weights": {"activity": -1}}"#, "weights.activity"),
            (r#"{"weights": {"activity": 0, "support": 0, "sentiment": 0, "payment": 0}}"#, "weights"),
            (r#"{"weights": {"mood": 1}}"#, "mood"),
            (r#"{"tiers": {"neutral": 90}}"#, "tiers"),
            (r#"{"tiers": {"healthy": 101}}"#, "tiers"),
            (r#"{"eligible_statuses": ["alive"]}"#, "eligible_statuses"),
            (r#"{"eligible_statuses": []}"#, "eligible_statuses"),
            (r#"{"activity_window_days": 0}"#, "activity_window_days"),
            (r#"{"activity": {"active_users": 0, "recency": 0}}"#, "activity"),
            (r#"{"support": {"priority_cost": 101}}"#, "support.priority_cost"),
            (r#"{"payment": {"points": {"active": 101}}}"#, "payment.points.active"),
            (r#"{"payment": {"points": {"alive": 1}}}"#, "payment.points"),
            (r#"{"payment": {"delinquent_cap": 200}}"#, "payment.delinquent_cap"),
            (r#"{"preset": "mine"}"#, "mine"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(member), "{text}: {error}");
        }
        assert!(read(r#"{"eligible_statuses": [], "gating": false}"#).is_ok());
    }
}
