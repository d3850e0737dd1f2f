//! Contacts, the people of companies. The time of their last change has a name of its own.

use super::{Object, Reads, Stream, objects};

pub(super) const STREAM: Stream = Stream {
    spec: objects(
        "contacts",
        "Contacts, linked to companies by association.",
        "crm.objects.contacts.read",
        2,
    ),
    reads: Reads::Objects(Object {
        singular: "contact",
        modified: "lastmodifieddate",
        properties: &[
            "email",
            "hs_additional_emails",
            "firstname",
            "lastname",
            "jobtitle",
            "company",
            "lifecyclestage",
            "hubspot_owner_id",
            "associatedcompanyid",
            "hs_merged_object_ids",
            "notes_last_contacted",
        ],
        bodies: &[],
        to: &["companies"],
        primary: Some("associatedcompanyid"),
        lists_archived: true,
    }),
};
