//! From the sandbox to facts: what a document comes to, all the way.

use connector_pandadoc::facts::facts;
use connector_sdk::ReadMode;
use connector_sdk::facts::{Confidence, Contract, ContractStatus, Fact};
use serde_json::json;

use crate::support::{fill, open, pages, sandbox};

#[tokio::test]
async fn documents_become_contracts_with_people_and_links() {
    let sandbox = sandbox().await;
    fill(&sandbox);
    let session =
        open(&sandbox, json!({"fields": {"effective": ["Start"], "company_id": ["Client.Company"]}}));
    let (read, _) = pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
    let mut statuses = Vec::new();
    for record in read.iter().flat_map(|page| &page.records) {
        let extract = facts(record).unwrap();
        let Fact::Contract(contract) = &extract.facts[0] else { panic!("{extract:?}") };
        statuses.push(contract.status);
        let signed = contract.signed_at.is_some();
        if contract.status == ContractStatus::Created {
            assert_eq!(extract.facts.len(), 1, "little is known of one that is being made");
            continue;
        }
        assert_eq!(contract.effective.unwrap().value.to_string(), "2026-07-01");
        let Fact::Organization(organization) = &extract.facts[1] else { panic!("{extract:?}") };
        assert!(organization.properties["company_id"].starts_with("Company "));
        assert!(organization.properties["hubspot_deal_id"].starts_with("90"));
        let Fact::Person(person) = &extract.facts[2] else { panic!("{extract:?}") };
        assert!(person.emails[0].ends_with(".example"));
        assert_eq!(signed, person.properties.contains_key("signature_date"));
        if let Some(end) = contract.end {
            assert_eq!((end.value.to_string().as_str(), end.confidence), ("2027-06-30", Confidence::Low));
        }
    }
    let count = |status| statuses.iter().filter(|s| **s == status).count();
    assert_eq!(count(ContractStatus::Completed), 4);
    assert_eq!(
        [ContractStatus::Sent, ContractStatus::Created, ContractStatus::Declined, ContractStatus::Draft]
            .map(count),
        [2, 2, 2, 2]
    );
    let ends = read.iter().flat_map(|page| &page.records).filter(|r| r.payload.get().contains("2027-06-30"));
    assert_eq!(ends.count(), 1);
}

#[tokio::test]
async fn the_demo_shows_every_situation() {
    let sandbox = sandbox().await;
    sandbox.seed_demo();
    let session = open(&sandbox, json!({}));
    let (read, _) = pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
    let contracts: Vec<Contract> = read
        .iter()
        .flat_map(|page| &page.records)
        .filter_map(|record| match facts(record).unwrap().facts.remove(0) {
            Fact::Contract(contract) => Some(*contract),
            _ => None,
        })
        .collect();
    let signed = |c: &&Contract| c.status == ContractStatus::Completed && c.signed_at.is_some();
    assert_eq!((contracts.len(), contracts.iter().filter(signed).count()), (8, 3));
    assert!(contracts.iter().filter(signed).all(|c| c.term.is_some() && c.value.is_some()));
    let renews = contracts.iter().filter(|c| c.auto_renews.is_some_and(|renews| renews.value));
    assert_eq!(renews.count(), 1);
    let mut statuses: Vec<String> = contracts.iter().map(|c| format!("{:?}", c.status)).collect();
    statuses.sort();
    statuses.dedup();
    assert_eq!(statuses, ["Completed", "Declined", "Draft", "Viewed", "Void"]);
}
