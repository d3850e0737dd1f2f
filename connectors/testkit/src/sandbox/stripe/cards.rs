//! Stripe's test cards: payment methods (`pm_card_…`) and tokens (`tok_…`) whose name says what they do when
//! they are charged (<https://docs.stripe.com/testing>).

/// What a card does when it is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The money comes.
    Succeeds,
    /// The issuer says no.
    Declined(Decline),
    /// The holder would have to confirm, which nobody does here.
    NeedsAction,
    /// The money comes, and the holder disputes it at once.
    Disputed {
        /// Stripe's reason.
        reason: &'static str,
        /// Only a question so far: no money is taken back.
        inquiry: bool,
    },
    /// The money comes, and a refund of it fails later.
    RefundFails,
    /// The money comes, and a refund of it is pending first.
    RefundWaits,
}

/// A refusal of the issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decline {
    pub(super) code: &'static str,
    pub(super) decline_code: Option<&'static str>,
    pub(super) message: &'static str,
}

/// The refusal that says nothing more.
pub(super) const GENERIC: Decline = Decline {
    code: "card_declined",
    decline_code: Some("generic_decline"),
    message: "Your card was declined.",
};

/// One test card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Card {
    /// The name behind `pm_card_` and `tok_`.
    pub(super) name: &'static str,
    pub(super) brand: &'static str,
    /// Tells the cards apart when they are charged: no two outcomes share one.
    pub(super) last4: &'static str,
    pub(super) outcome: Outcome,
    /// Whether a customer can keep it; most declining cards are refused already then.
    pub(super) attaches: bool,
}

const fn good(name: &'static str, brand: &'static str, last4: &'static str) -> Card {
    Card { name, brand, last4, outcome: Outcome::Succeeds, attaches: true }
}

const fn visa(name: &'static str, last4: &'static str, outcome: Outcome) -> Card {
    Card { name, brand: "visa", last4, outcome, attaches: true }
}

const fn declined(name: &'static str, last4: &'static str, decline_code: &'static str) -> Card {
    let decline = Decline { decline_code: Some(decline_code), ..GENERIC };
    Card { name, brand: "visa", last4, outcome: Outcome::Declined(decline), attaches: false }
}

const fn refused(name: &'static str, last4: &'static str, code: &'static str, message: &'static str) -> Card {
    let decline = Decline { code, decline_code: None, message };
    Card { name, brand: "visa", last4, outcome: Outcome::Declined(decline), attaches: false }
}

const CARDS: [Card; 28] = [
    good("visa", "visa", "4242"),
    good("visa_debit", "visa", "5556"),
    good("mastercard", "mastercard", "4444"),
    good("mastercard_debit", "mastercard", "8210"),
    good("mastercard_prepaid", "mastercard", "5100"),
    good("amex", "amex", "8431"),
    good("discover", "discover", "9424"),
    good("diners", "diners", "0004"),
    good("jcb", "jcb", "0505"),
    good("unionpay", "unionpay", "0005"),
    good("bypassPending", "visa", "0077"),
    visa("chargeCustomerFail", "0341", Outcome::Declined(GENERIC)),
    declined("chargeDeclined", "0002", "generic_decline"),
    declined("chargeDeclinedInsufficientFunds", "9995", "insufficient_funds"),
    declined("chargeDeclinedLostCard", "9987", "lost_card"),
    declined("chargeDeclinedStolenCard", "9979", "stolen_card"),
    declined("chargeDeclinedFraudulent", "0019", "fraudulent"),
    declined("chargeDeclinedVelocityLimitExceeded", "6975", "card_velocity_exceeded"),
    refused("chargeDeclinedExpiredCard", "0069", "expired_card", "Your card has expired."),
    refused("chargeDeclinedIncorrectCvc", "0127", "incorrect_cvc", "Your card's security code is incorrect."),
    refused(
        "chargeDeclinedProcessingError",
        "0119",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
    ),
    visa("authenticationRequired", "3184", Outcome::NeedsAction),
    visa("threeDSecure2Required", "3220", Outcome::NeedsAction),
    visa("createDispute", "0259", Outcome::Disputed { reason: "fraudulent", inquiry: false }),
    visa(
        "createDisputeProductNotReceived",
        "2685",
        Outcome::Disputed { reason: "product_not_received", inquiry: false },
    ),
    visa("createDisputeInquiry", "1976", Outcome::Disputed { reason: "fraudulent", inquiry: true }),
    visa("refundFail", "5126", Outcome::RefundFails),
    visa("pendingRefund", "7726", Outcome::RefundWaits),
];

/// The card of a payment method (`pm_card_visa`) or token (`tok_visa`). Some names are known with the brand in
/// front too (`pm_card_visa_chargeDeclined`).
pub(super) fn named(id: &str) -> Option<Card> {
    let name = id.strip_prefix("pm_card_").or_else(|| id.strip_prefix("tok_"))?;
    let bare = name.strip_prefix("visa_").unwrap_or(name);
    CARDS.into_iter().find(|c| c.name == name).or_else(|| CARDS.into_iter().find(|c| c.name == bare))
}

/// What the card with these last four digits does. One that is not Stripe's is good.
pub(super) fn outcome(last4: Option<&str>) -> Outcome {
    CARDS.into_iter().find(|c| Some(c.last4) == last4).map_or(Outcome::Succeeds, |c| c.outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_digits_tell_the_cards_apart() {
        let digits: std::collections::BTreeSet<_> = CARDS.iter().map(|c| c.last4).collect();
        assert_eq!(digits.len(), CARDS.len());
    }

    #[test]
    fn payment_methods_and_tokens_name_the_same_cards() {
        for (id, name) in [
            ("pm_card_visa", "visa"),
            ("tok_visa", "visa"),
            ("tok_visa_debit", "visa_debit"),
            ("pm_card_visa_chargeDeclined", "chargeDeclined"),
            ("tok_chargeDeclined", "chargeDeclined"),
            ("pm_card_chargeCustomerFail", "chargeCustomerFail"),
            ("pm_card_createDispute", "createDispute"),
        ] {
            assert_eq!(named(id).map(|c| c.name), Some(name), "{id}");
        }
        assert_eq!(named("pm_card_nonsense"), None);
        assert_eq!(named("card_visa"), None);
    }
}
