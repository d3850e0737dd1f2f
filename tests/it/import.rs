//! Files of users and companies, imported by the built program.

mod kills;
mod same;

use std::path::PathBuf;
use std::sync::Arc;

use halo_sync::domain::OrgId;
use halo_sync::domain::companies::Company;
use halo_sync::domain::users::EndUser;
use halo_sync::store::Store;
use halo_sync::store::identity::Lookup;
use serde_json::{Value, json};

use crate::support::installation::Program;
use crate::support::postgres::Database;

/// Stamps each behaviour (`async fn name(program: &Program)`) once for SQLite and once for Postgres.
macro_rules! by_the_program {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let program = crate::support::installation::Program::new(None);
                super::$name(&program).await;
                program.remove().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(database) = crate::support::postgres::Database::migrated().await else { return };
                let program = crate::support::installation::Program::new(Some(database));
                super::$name(&program).await;
                program.remove().await;
            })*
        }
    };
}
pub(crate) use by_the_program;

by_the_program!(
    csv_becomes_users,
    json_lines_become_users,
    companies_are_imported_too,
    a_dry_run_tells_and_writes_nothing,
    what_is_refused_is_kept_and_can_be_mended,
    it_goes_through_the_running_process,
);

/// What a command said.
struct Said {
    code: Option<i32>,
    answer: Value,
    errors: String,
}

impl Said {
    fn counts(&self) -> [u64; 6] {
        ["created", "updated", "unchanged", "skipped", "rejected", "duplicates"]
            .map(|name| self.answer[name].as_u64().unwrap_or_else(|| panic!("{name}: {}", self.errors)))
    }
}

async fn run(program: &Program, args: &[&str]) -> Said {
    let mut command = program.command(args);
    command.arg("--json").stdin(std::process::Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let answer = out.lines().next().map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
    Said { code: output.status.code(), answer, errors: String::from_utf8(output.stderr).unwrap() }
}

fn file(program: &Program, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = program.folder().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn org() -> OrgId {
    OrgId::default_org()
}

async fn user(store: &Arc<dyn Store>, id: &str) -> EndUser {
    let found = store.find_user(&org(), &Lookup::External(id.to_owned())).await.unwrap();
    found.unwrap_or_else(|| panic!("no user {id}"))
}

async fn company(store: &Arc<dyn Store>, id: &str) -> Company {
    let found = store.find_company(&org(), &Lookup::External(id.to_owned())).await.unwrap();
    found.unwrap_or_else(|| panic!("no company {id}"))
}

const USERS: &str = "\u{feff}user_id,Full Name,email,seats,beta,zip,joined,mrr,note,company_id,skip\r\n\
    u1,Jane Doe,jane@acme.example,5,true,01234,2025-01-02,299.99,\"two\r\nlines, \"\"quoted\"\"\",acme,x\r\n\
    u2,Bob,,2.5,FALSE,98765,,,,acme,x\r\n\
    u3,Ann,ann@b.example,1e3,maybe,12345678901234567890,,,\u{20ac},,x\r\n";

async fn csv_becomes_users(program: &Program) {
    file(program, "users.csv", USERS);
    let args = ["contacts", "import", "users.csv", "--map", "Full Name=name", "--map", "skip="];
    let typed = [&args[..], &["--map", "joined=signed_up_at", "--as-text", "zip"]].concat();
    let said = run(program, &typed).await;
    assert_eq!((said.code, said.counts()), (Some(0), [3, 0, 0, 0, 0, 0]), "{}", said.errors);
    let store = program.read().await;
    let jane = user(&store, "u1").await;
    assert_eq!(jane.fields.name.as_deref(), Some("Jane Doe"));
    assert_eq!((jane.fields.mrr_minor, jane.fields.mrr_currency.as_deref()), (Some(29_999), Some("usd")));
    assert_eq!(jane.fields.signed_up_at.unwrap().to_rfc3339(), "2025-01-02T00:00:00+00:00");
    let expected = json!({"seats": 5, "beta": true, "zip": "01234", "note": "two\r\nlines, \"quoted\""});
    assert_eq!(json!(jane.custom_fields), expected);
    // An import is no visit.
    assert_eq!((jane.first_seen, jane.last_seen, jane.source.as_str()), (None, None, "import"));
    let acme = company(&store, "acme").await;
    assert_eq!(jane.company_id, Some(acme.id.clone()));
    let bob = user(&store, "u2").await;
    assert_eq!((bob.company_id, bob.fields.email), (Some(acme.id), None));
    assert_eq!(json!(bob.custom_fields), json!({"seats": 2.5, "beta": false, "zip": "98765"}));
    let ann = user(&store, "u3").await;
    let expected =
        json!({"seats": "1e3", "beta": "maybe", "zip": "12345678901234567890", "note": "\u{20ac}"});
    assert_eq!((json!(ann.custom_fields), ann.company_id), (expected, None));
    drop(store);

    // Again: nothing changes. An empty cell keeps, or clears. An address finds who has no id here.
    assert_eq!(run(program, &typed).await.counts(), [0, 0, 3, 0, 0, 0]);
    file(program, "more.csv", "id;email;note;seats\n;JANE@acme.example;new;\nu2;;;7\nu2;;;8\n");
    let said = run(program, &["contacts", "import", "more.csv"]).await;
    assert_eq!((said.code, said.counts()), (Some(0), [0, 3, 0, 0, 0, 1]), "{}", said.errors);
    let store = program.read().await;
    let jane = user(&store, "u1").await;
    assert_eq!((&jane.custom_fields["note"], &jane.custom_fields["seats"]), (&json!("new"), &json!(5)));
    assert_eq!(user(&store, "u2").await.custom_fields["seats"], 8);
    drop(store);
    file(program, "clear.csv", "user_id\tseats\tzip\nu1\t\t9\nnew\t1\t2\n");
    let said = run(
        program,
        &["contacts", "import", "clear.csv", "--empty", "clear", "--update-only", "--types", "zip=number"],
    )
    .await;
    assert_eq!((said.code, said.counts()), (Some(0), [0, 1, 0, 1, 0, 0]), "{}", said.errors);
    let store = program.read().await;
    let jane = user(&store, "u1").await;
    assert_eq!((jane.custom_fields.get("seats"), &jane.custom_fields["zip"]), (None, &json!(9)));
    assert_eq!(store.find_user(&org(), &Lookup::External("new".to_owned())).await.unwrap(), None);
}

async fn json_lines_become_users(program: &Program) {
    let long = "x".repeat(300_000);
    let lines = [
        json!({"user_id": "u1", "traits": {"name": "Jane", "plan": "pro"}, "company_id": "acme",
               "context": {"step": {"label": "Onboarding", "type": "status", "value": {"at": 3}}}})
        .to_string(),
        r#"{"external_id": 7, "name": "Flat", "mrr": 90071992547409.93, "tags": ["a", {"b": null}]}"#
            .to_owned(),
        String::new(),
        r#"{"id": "u3", "traits": {"a": 1}, "b": 2}"#.to_owned(),
        "[1]".to_owned(),
        "{\"user_id\": \"u4\", ".to_owned(),
        format!("{{\"user_id\": \"u5\", \"note\": \"{long}\"}}"),
        r#"{"user_id": "u6", "created_at": 1, "team": "x"}"#.to_owned(),
        r#"{"user_id": "u7", "context": {"k": {"value": 1}}}"#.to_owned(),
        r#"{"user_id": {"a": 1}}"#.to_owned(),
        r#"{"name": "nobody"}"#.to_owned(),
        r#"{"email": "unknown@acme.example"}"#.to_owned(),
        "{\"user_id\": \"last\"}".to_owned(),
    ];
    file(program, "users.jsonl", lines.join("\r\n"));
    let said = run(program, &["contacts", "import", "users.jsonl"]).await;
    assert_eq!((said.code, said.counts()), (Some(3), [3, 0, 0, 0, 9, 0]), "{}", said.errors);
    let store = program.read().await;
    let jane = user(&store, "u1").await;
    assert_eq!((&jane.custom_fields["plan"], jane.company_id.is_some()), (&json!("pro"), true));
    assert_eq!(jane.context["step"].value, json!({"at": 3}));
    let flat = user(&store, "7").await;
    assert_eq!(flat.fields.mrr_minor, Some(9_007_199_254_740_993));
    assert_eq!(flat.custom_fields["tags"], json!(["a", {"b": null}]));
    user(&store, "last").await;
    let kept = std::fs::read_to_string(program.folder().join("users.rejects.jsonl")).unwrap();
    let rejects: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (reject, (line, why)) in rejects.iter().zip([
        (4, "b: beside traits"),
        (5, "not a JSON object"),
        (6, "not JSON"),
        (7, "the line has more than"),
        (8, "created_at"),
        (9, "context.k.label"),
        (10, "user_id: text is expected"),
        (11, "neither an id nor an e-mail address"),
        (12, "nobody has this e-mail address"),
    ]) {
        assert_eq!(reject["_line"], line, "{reject}");
        assert!(reject["_reason"].as_str().unwrap().contains(why), "{why}: {}", reject["_reason"]);
    }
    assert_eq!((&rejects[1]["_row"], &rejects[4]["team"]), (&json!("[1]"), &json!("x")));
    assert!(kept.lines().all(|line| line.len() < 300_000));
}

async fn companies_are_imported_too(program: &Program) {
    let csv = "company_id,name,domain,employee_count,on_contract,renewal_date,arr,tier\n\
               acme,Acme Corp,https://www.Acme.com/x,150,yes,2026-12-31,1200.5,Gold\n\
               beta,Beta,beta.example,many,,,,\n";
    file(program, "companies.csv", csv);
    let said = run(program, &["companies", "import", "companies.csv"]).await;
    assert_eq!((said.code, said.counts()), (Some(3), [1, 0, 0, 0, 1, 0]), "{}", said.errors);
    let store = program.read().await;
    let acme = company(&store, "acme").await;
    assert_eq!(acme.fields.domain.as_deref(), Some("acme.com"));
    assert_eq!((acme.fields.employee_count, acme.fields.on_contract), (Some(150), Some(true)));
    assert_eq!((acme.fields.arr_minor, acme.source.as_str()), (Some(120_050), "import"));
    assert_eq!(acme.custom_fields["tier"], "Gold");
    let rejects = std::fs::read_to_string(program.folder().join("companies.rejects.csv")).unwrap();
    assert!(rejects.ends_with("beta,Beta,beta.example,many,,,,,3,\"employee_count: \"\"many\"\" is not a number such as 299 or 299.5\"\n"), "{rejects}");
}

async fn a_dry_run_tells_and_writes_nothing(program: &Program) {
    file(program, "first.csv", "user_id,plan\nu1,free\nu2,pro\n");
    assert_eq!(run(program, &["contacts", "import", "first.csv"]).await.counts(), [2, 0, 0, 0, 0, 0]);
    file(program, "second.csv", "user_id,plan,mrr\nu1,pro,\nu2,pro,\nu3,free,1\nu3,gold,\nu4,free,much\n");
    let said = run(program, &["contacts", "import", "second.csv", "--dry-run"]).await;
    assert_eq!((said.code, said.counts()), (Some(3), [1, 2, 1, 0, 1, 1]), "{}", said.errors);
    assert_eq!((&said.answer["dry_run"], &said.answer["rejects_file"]), (&json!(true), &Value::Null));
    let changes = said.answer["changes"].as_array().unwrap();
    let expected =
        json!({"line": 2, "id": "u1", "new": false, "changes": {"plan": {"from": "free", "to": "pro"}}});
    assert_eq!(changes[0], expected);
    assert_eq!((&changes[1]["id"], &changes[1]["new"]), (&json!("u3"), &json!(true)));
    assert!(changes[3]["rejected"].as_str().unwrap().contains("mrr"), "{changes:?}");
    assert!(!program.folder().join("second.rejects.csv").exists());
    let store = program.read().await;
    assert_eq!(user(&store, "u1").await.custom_fields["plan"], "free");
    assert_eq!(store.count_identities(&org()).await.unwrap().users, 2);
    drop(store);
    let said = run(program, &["contacts", "import", "second.csv"]).await;
    assert_eq!((said.code, said.counts()), (Some(3), [1, 2, 1, 0, 1, 1]), "{}", said.errors);
}

async fn what_is_refused_is_kept_and_can_be_mended(program: &Program) {
    let mut csv = b"user_id,seats,note\n".to_vec();
    csv.extend_from_slice(
        b"u1,1,fine\nu2,many,\"a \"\"b\"\",\nc\"\nu3,3\nu4,4,x,extra\nu5,5,\xff\nu6,6,fine\n",
    );
    file(program, "users.csv", &csv);
    let args = ["contacts", "import", "users.csv", "--types", "seats=number"];
    let said = run(program, &args).await;
    assert_eq!((said.code, said.counts()), (Some(3), [2, 0, 0, 0, 4, 0]), "{}", said.errors);
    let path = program.folder().join("users.rejects.csv");
    assert_eq!(said.answer["rejects_file"], "users.rejects.csv");
    let kept = std::fs::read(&path).unwrap();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&kept[..]);
    assert_eq!(reader.headers().unwrap(), vec!["user_id", "seats", "note", "_line", "_reason"]);
    let rows: Vec<Vec<Vec<u8>>> =
        reader.byte_records().map(|r| r.unwrap().iter().map(<[u8]>::to_vec).collect()).collect();
    let cells = |row: usize| -> Vec<String> {
        rows[row].iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()
    };
    assert_eq!(cells(0)[..4], ["u2", "many", "a \"b\",\nc", "3"]);
    assert_eq!(cells(1), ["u3", "3", "", "5", "2 cells, the header has 3"]);
    assert_eq!(cells(2), ["u4", "4", "x", "6", "4 cells, the header has 3", "extra"]);
    assert_eq!((rows[3][2].as_slice(), cells(3)[4].as_str()), (&b"\xff"[..], "note: not UTF-8"));

    // Mended, it is imported as it is; our columns are nobody's traits.
    let mended = String::from_utf8_lossy(&kept).replace("many", "2").replace(",extra", "");
    file(program, "users.rejects.csv", mended.replace('\u{fffd}', "e"));
    let said = run(program, &["contacts", "import", "users.rejects.csv", "--types", "seats=number"]).await;
    assert_eq!((said.code, said.counts()), (Some(0), [4, 0, 0, 0, 0, 0]), "{}", said.errors);
    let store = program.read().await;
    assert_eq!(json!(user(&store, "u2").await.custom_fields), json!({"seats": 2, "note": "a \"b\",\nc"}));
    drop(store);
    // Without a reject no file is left.
    file(program, "users.csv", "user_id,seats\nu1,1\n");
    std::fs::write(&path, "old").unwrap();
    let said = run(program, &args).await;
    assert_eq!((said.code, said.answer["rejects_file"].is_null(), path.exists()), (Some(0), true, false));
}

async fn it_goes_through_the_running_process(program: &Program) {
    let mut serving = program.serve();
    serving.ready().await;
    let mut csv = String::from("user_id,name,note\n");
    for n in 0..2_500 {
        csv.push_str(&format!("u{n},User {n},{}\n", "n".repeat(n % 300)));
    }
    file(program, "users.csv", csv);
    let said = run(program, &["contacts", "import", "users.csv"]).await;
    assert_eq!((said.code, said.counts()), (Some(0), [2_500, 0, 0, 0, 0, 0]), "{}", said.errors);
    serving.assert_lives();
    let store = program.read().await;
    assert_eq!(store.count_identities(&org()).await.unwrap().users, 2_500);
    assert_eq!(user(&store, "u2499").await.fields.name.as_deref(), Some("User 2499"));
    drop(store);
    serving.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_imported_is_refused_with_the_way_out() {
    let program = Program::new(None::<Database>);
    let utf16: Vec<u8> = "user_id,name\nu1,x\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let endless = format!("user_id,name\nu1,\"{}", "x\n".repeat(400_000));
    for (name, content, args, code, said) in [
        ("a.csv", [b"\xff\xfe".to_vec(), utf16.clone()].concat(), &[][..], 1, "the file is UTF-16LE"),
        ("b.csv", utf16, &[], 1, "iconv -f UTF-16LE -t UTF-8"),
        ("c.csv", Vec::new(), &[], 1, "no header"),
        ("d.csv", b"user_id,name,name\n".to_vec(), &[], 1, "\\\"name\\\" stands twice"),
        ("e.csv", b"customer,name\nc1,x\n".to_vec(), &[], 1, "name it with --id-column"),
        ("f.csv", b"user_id,created_at\n".to_vec(), &[], 1, "created_at=signed_up_at"),
        ("g.csv", b"user_id,Name\n".to_vec(), &["--map", "name=plan"], 1, "there is no column \\\"name\\\""),
        ("h.csv", endless.into_bytes(), &[], 1, "is a quote not closed?"),
        ("i.xlsx", b"PK".to_vec(), &[], 2, "--format csv"),
        ("j.csv", b"user_id\n".to_vec(), &["--types", "a=colour"], 2, "is no type"),
        ("k.csv", b"user_id\n".to_vec(), &["--resume"], 1, "could be resumed"),
        ("l.csv", b"user_id\n".to_vec(), &["--rate", "0"], 2, "rows a second"),
    ] {
        file(&program, name, content);
        let args = [&["contacts", "import", name][..], args].concat();
        let refused = run(&program, &args).await;
        assert_eq!(refused.code, Some(code), "{name}: {}", refused.errors);
        assert!(refused.errors.contains(said), "{name}: {}", refused.errors);
    }
    let missing = run(&program, &["contacts", "import", "missing.csv"]).await;
    assert_eq!(
        (missing.code, missing.errors.contains("unreadable_file")),
        (Some(1), true),
        "{}",
        missing.errors
    );
    // From stdin, named by what it is.
    file(&program, "in.csv", "email,name\na@b.example,A\n");
    let mut command =
        program.command(&["contacts", "import", "-", "--format", "csv", "--id-column", "email", "--json"]);
    command.stdin(std::fs::File::open(program.folder().join("in.csv")).unwrap());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let store = program.read().await;
    assert_eq!(user(&store, "a@b.example").await.fields.email.as_deref(), Some("a@b.example"));
    drop(store);
    program.remove().await;
}
