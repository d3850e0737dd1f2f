//! The layers and the ranks.

use halo_sync::context::{MergeOptions, Merged, Request, fields::Scope, merge, merge::Origin, merge::Why};
use halo_sync::domain::Rank;
use serde_json::{Value, json};

use super::{company, request, text_of, user};

#[test]
fn a_higher_rank_always_wins_and_the_later_within_a_rank() {
    let ranks = ["claimed", "synced", "server", "manual"];
    for stored in ranks {
        for key in ["server", "publishable"] {
            let user = user(json!({"custom_fields": {"x": "old"}, "provenance": {"x": stored}}));
            let request = request(json!({"key": key, "custom_fields": {"x": "new"}}));
            let wins = match (stored, key) {
                ("claimed", _) => true,
                ("manual", _) => false,
                (_, key) => key == "server",
            };
            let text = text_of(Some(&user), None, &request);
            assert_eq!(
                text,
                format!("[User Profile]\nX: {}", if wins { "new" } else { "old" }),
                "{stored} {key}"
            );
            let merging = MergeOptions::default();
            let merged = merge(Some(&user), None, &request, &[], &merging);
            let field = merged.user.as_ref().unwrap().field("x").unwrap();
            assert_eq!(field.losers.len(), 1);
            assert_eq!(field.losers[0].why, if wins { Why::Overwritten } else { Why::Outranked });
            assert_eq!(field.losers[0].origin, if wins { Origin::Stored } else { Origin::Request });
        }
    }
}

#[test]
fn verified_claims_stand_between() {
    let user = user(json!({"custom_fields": {"role": "viewer", "plan": "free"}}));
    let token = json!({"key": "publishable", "claims": {"role": "admin", "user_id": "u", "exp": 1}, "custom_fields": {"role": "owner"}});
    assert_eq!(text_of(Some(&user), None, &request(token)), "[User Profile]\nRole: admin\nPlan: free");
    let server = json!({"claims": {"role": "admin"}, "custom_fields": {"role": "owner"}});
    assert_eq!(text_of(Some(&user), None, &request(server)), "[User Profile]\nRole: owner\nPlan: free");
}

#[test]
fn null_takes_a_value_away() {
    let user = user(json!({"custom_fields": {"a": 1, "b": 2}}));
    assert_eq!(
        text_of(Some(&user), None, &request(json!({"custom_fields": {"a": null}}))),
        "[User Profile]\nB: 2"
    );
}

#[test]
fn a_request_cannot_write_what_the_system_writes() {
    let company =
        company(json!({"health_score": 90, "team_size": 3, "mrr_minor": 100, "mrr_currency": "usd"}));
    let request = request(json!({
        "context": {"halo.x": {"label": "X", "value": 1}},
        "custom_fields": {"external_id": "u2", "last_seen": "now", "ok": 1},
        "company": {"custom_fields": {"health_score": 1, "team_size": 99, "mrr_minor": 5, "mrr_currency": "eur"}, "context": {"halo.y": {"label": "Y", "value": 1}}},
    }));
    let merging = MergeOptions::default();
    let merged = merge(None, Some(&company), &request, &[], &merging);
    let refused: Vec<(&str, Why)> = merged.refused.iter().map(|refused| (refused.key, refused.why)).collect();
    assert_eq!(
        refused,
        [
            ("external_id", Why::SystemManaged),
            ("last_seen", Why::SystemManaged),
            ("health_score", Why::SystemManaged),
            ("mrr_currency", Why::SystemManaged),
            ("mrr_minor", Why::SystemManaged),
            ("team_size", Why::SystemManaged),
            ("halo.y", Why::ReservedKey),
            ("halo.x", Why::ReservedKey),
        ]
    );
    assert_eq!(
        text_of(None, Some(&company), &request),
        "[User Profile]\nOk: 1\n\n[Company]\nMRR: 1.00 USD\nTeam Size: 3"
    );
}

fn entry(value: i32) -> Value {
    json!({"label": "Limits", "type": "metric", "value": value})
}

fn values(merged: &Merged<'_>) -> Vec<(Scope, i64)> {
    merged.entries.iter().map(|entry| (entry.scope, entry.entry.value.as_i64().unwrap())).collect()
}

#[test]
fn a_request_entry_lies_over_both_sides_unless_outranked() {
    use Scope::{Company, User};
    for (user_has, company_rank, request_json, expected) in [
        // Both stored: both are printed.
        (true, None, json!({}), vec![(User, 1), (Company, 2)]),
        (true, None, json!({"context": {"limits": entry(3)}}), vec![(User, 3)]),
        (false, None, json!({"context": {"limits": entry(3)}}), vec![(User, 3)]),
        (
            false,
            Some("claimed"),
            json!({"key": "publishable", "context": {"limits": entry(3)}}),
            vec![(User, 3)],
        ),
        // A claim beside a synced entry would look like its replacement.
        (
            false,
            Some("synced"),
            json!({"key": "publishable", "context": {"limits": entry(3)}}),
            vec![(Company, 2)],
        ),
        (true, Some("manual"), json!({"context": {"limits": entry(3)}}), vec![(User, 1), (Company, 2)]),
        (true, None, json!({"company": {"context": {"limits": entry(4)}}}), vec![(User, 1), (Company, 4)]),
        (
            true,
            None,
            json!({"context": {"limits": entry(3)}, "company": {"context": {"limits": entry(4)}}}),
            vec![(User, 3), (Company, 4)],
        ),
        (
            true,
            Some("synced"),
            json!({"key": "publishable", "company": {"context": {"limits": entry(4)}}}),
            vec![(User, 1), (Company, 2)],
        ),
    ] {
        let user = user(if user_has {
            json!({"context": {"limits": entry(1)}, "provenance": {"context.limits": "claimed"}})
        } else {
            json!({})
        });
        let provenance = company_rank.map_or(json!({}), |rank| json!({"context.limits": rank}));
        let company = company(json!({"context": {"limits": entry(2)}, "provenance": provenance}));
        let request = request(request_json.clone());
        let merging = MergeOptions::default();
        let merged = merge(Some(&user), Some(&company), &request, &[], &merging);
        assert_eq!(values(&merged), expected, "{user_has} {company_rank:?} {request_json}");
        assert_eq!(merged.entries.len() == 2, merged.entries[0].shared);
    }
}

#[test]
fn every_loser_is_kept_with_its_reason() {
    let user = user(json!({"plan": "a", "custom_fields": {"plan": "b"}, "provenance": {"plan": "synced"}}));
    let request = request(json!({"claims": {"plan": "c"}, "custom_fields": {"plan": "d"}}));
    let merging = MergeOptions::default();
    let merged = merge(Some(&user), None, &request, &[], &merging);
    let plan = merged.user.as_ref().unwrap().field("plan").unwrap();
    let losers: Vec<_> = plan
        .losers
        .iter()
        .map(|l| (serde_json::to_value(l.value).unwrap(), l.origin, l.rank, l.why))
        .collect();
    assert_eq!(
        losers,
        [
            (json!("b"), Origin::Stored, Rank::Synced, Why::Shadowed),
            (json!("a"), Origin::Stored, Rank::Synced, Why::Overwritten),
            (json!("c"), Origin::Token, Rank::Server, Why::Overwritten),
        ]
    );
    let json = serde_json::to_value(&merged).unwrap();
    assert_eq!(json["user"]["fields"][0]["losers"][2]["why"], "overwritten");
}

#[test]
fn nothing_said_changes_nothing() {
    let user = user(json!({"name": "Jo", "context": {"k": {"label": "K", "value": 1}}}));
    assert_eq!(
        text_of(Some(&user), None, &Request::default()),
        text_of(Some(&user), None, &request(json!({"key": "publishable"})))
    );
}
