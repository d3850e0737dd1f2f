//! What holds of every connector once it is in the program: the real store, queue and derivation on both engines,
//! and the connector's own sandbox. What a connector promises by itself is for the suite of `connector-testkit`.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `account` | what a rule needs of a sandbox, and a program that reads it |
//! | `accounts` | the sandboxes, one file a connector |
//! | `reading` | the first read, a read without changes, changes, deletions, dry runs, refused credentials |
//! | `trouble` | faults of the provider end in the state that a clean read makes |
//! | `drift` | what changed behind our back is found and repaired; one company is brought up to date |
//! | `kills` | a backfill that is killed goes on where it was |
//!
//! A connector that comes with halo-sync gets a file in `accounts` and a line in `connectors!` below.

mod account;
mod accounts;
mod drift;
mod kills;
mod reading;
mod trouble;

use halo_sync::registry;

use self::account::Account;

/// Holds each connector against every rule, on both engines.
macro_rules! connectors {
    ($($module:ident: $account:ty),* $(,)?) => {
        /// The connectors that are held against the rules.
        const HELD: &[&str] = &[$(<$account as Account>::CONNECTOR),*];
        $(mod $module {
            use crate::support::app::{App, on_both};

            connectors! { @rules $account;
                reading::every_record_is_read_and_derived
                reading::a_read_without_changes_writes_nothing
                reading::changes_and_deletions_arrive_with_the_next_run
                reading::a_dry_run_foresees_what_a_run_does_and_writes_nothing
                reading::refused_credentials_ask_for_a_person
                trouble::faults_end_in_the_state_of_a_clean_read
                trouble::a_page_that_arrives_late_overwrites_nothing_newer
                drift::an_audit_finds_exactly_what_differs_and_repairs_it
                drift::a_sample_finds_what_never_arrived
                drift::a_scheduled_audit_repairs_and_is_kept
                drift::one_company_is_brought_up_to_date_and_no_other
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_killed_backfill_goes_on_where_it_was_on_sqlite() {
                super::kills::a_killed_backfill_goes_on_where_it_was::<$account>(None).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_killed_backfill_goes_on_where_it_was_on_postgres() {
                let Some(database) = crate::support::postgres::Database::migrated().await else { return };
                super::kills::a_killed_backfill_goes_on_where_it_was::<$account>(Some(database)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn each_fault_ends_in_the_state_of_a_clean_read() {
                super::trouble::each_fault_ends_in_the_state_of_a_clean_read::<$account>().await;
            }
        })*
    };
    (@rules $account:ty; $($group:ident :: $rule:ident)*) => {
        on_both!($($rule),*);
        $(async fn $rule(app: &App) {
            super::$group::$rule::<$account>(app).await;
        })*
    };
}

connectors! {
    stripe: crate::conformance::accounts::Stripe,
    hubspot: crate::conformance::accounts::HubSpot,
    pandadoc: crate::conformance::accounts::PandaDoc,
    chargebee: crate::conformance::accounts::Chargebee,
}

#[test]
fn what_is_held_against_the_rules_is_what_this_build_has() {
    let of_this_build: Vec<&str> = registry::connectors().iter().map(|c| c.spec().id).collect();
    for held in HELD {
        assert!(of_this_build.contains(held), "{held} is no connector of this build any more");
    }
    // A Singer tap is a program and no server: `singer` holds those rules that it can keep. A connector of your own need
    // not be here (docs/connectors.md).
    for other in of_this_build.iter().filter(|id| !HELD.contains(id) && **id != "singer") {
        println!("{other} has no account in tests/it/conformance/accounts: only its own suite holds it");
    }
}
