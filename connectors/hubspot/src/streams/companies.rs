//! Companies, the parties of a CRM. What is associated with one names it; it names nobody itself.

use connector_sdk::StreamSpec;

use super::{Object, Reads, Stream, objects};

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        party: true,
        ..objects(
            "companies",
            "Companies, each a party that a company of ours is linked to.",
            "crm.objects.companies.read",
            0,
        )
    },
    reads: Reads::Objects(Object {
        singular: "company",
        modified: "hs_lastmodifieddate",
        properties: &[
            "name",
            "domain",
            "hs_additional_domains",
            "website",
            "industry",
            "numberofemployees",
            "annualrevenue",
            "lifecyclestage",
            "type",
            "country",
            "hubspot_owner_id",
            "hs_parent_company_id",
            "hs_merged_object_ids",
            "notes_last_contacted",
        ],
        bodies: &[],
        to: &[],
        primary: None,
        lists_archived: true,
    }),
};
