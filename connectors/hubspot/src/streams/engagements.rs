//! E-mails, notes, calls and meetings: when there was contact, and with whom, and by their outcomes whether there was
//! any. Their texts are read only where the settings ask for them.

use super::{Object, Reads, Stream, objects};

/// Activities are read with the scope of the people they are about.
const SCOPE: &str = "crm.objects.contacts.read";

const fn engagement(
    singular: &'static str,
    properties: &'static [&'static str],
    bodies: &'static [&'static str],
) -> Reads {
    Reads::Objects(Object {
        singular,
        modified: "hs_lastmodifieddate",
        properties,
        bodies,
        to: &["companies", "contacts"],
        primary: None,
        // "Paging through deleted objects is not yet supported for object type 0-47 (MEETING_EVENT)".
        lists_archived: !matches!(singular.as_bytes(), b"meeting"),
    })
}

pub(super) const EMAILS: Stream = Stream {
    spec: objects("emails", "E-mails that were logged.", SCOPE, 4),
    reads: engagement(
        "email",
        &["hs_timestamp", "hs_email_subject", "hs_email_direction", "hs_email_status", "hubspot_owner_id"],
        &["hs_email_text"],
    ),
};

pub(super) const NOTES: Stream = Stream {
    spec: objects("notes", "Notes.", SCOPE, 4),
    reads: engagement("note", &["hs_timestamp", "hubspot_owner_id"], &["hs_note_body"]),
};

pub(super) const CALLS: Stream = Stream {
    spec: objects("calls", "Calls.", SCOPE, 4),
    reads: engagement(
        "call",
        &[
            "hs_timestamp",
            "hs_call_title",
            "hs_call_direction",
            "hs_call_duration",
            "hs_call_status",
            "hs_call_disposition",
            "hubspot_owner_id",
        ],
        &["hs_call_body"],
    ),
};

pub(super) const MEETINGS: Stream = Stream {
    spec: objects("meetings", "Meetings.", SCOPE, 4),
    reads: engagement(
        "meeting",
        &[
            "hs_timestamp",
            "hs_meeting_title",
            "hs_meeting_start_time",
            "hs_meeting_end_time",
            "hs_meeting_outcome",
            "hubspot_owner_id",
        ],
        &["hs_meeting_body"],
    ),
};
