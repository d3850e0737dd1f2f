//! What `docs/mcp.md` tells people to type and to write into their clients' settings.

use halo_sync::domain::connections::KeyClass;
use serde_json::{Value, json};

use super::{answer, connect};
use crate::support::app::{App, on_both};

on_both!(the_documented_settings_connect);

const PAGE: &str = include_str!("../../../docs/mcp.md");

/// The blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    PAGE.split(opening.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The only string below a value that begins so.
fn find<'a>(value: &'a Value, beginning: &str) -> Option<&'a str> {
    match value {
        Value::String(text) => text.starts_with(beginning).then_some(text),
        Value::Array(items) => items.iter().find_map(|item| find(item, beginning)),
        Value::Object(members) => members.values().find_map(|item| find(item, beginning)),
        _ => None,
    }
}

async fn the_documented_settings_connect(app: &App) {
    let (_, key) = app.key(KeyClass::Server).await;
    let here = |text: &str| text.replace("https://halo.example.com", &app.base).replace("hs_server_…", &key);
    let (mut remote, mut local) = (0, 0);
    for block in blocks("json") {
        let settings: Value = serde_json::from_str(block).unwrap_or_else(|e| panic!("{e}: {block}"));
        match find(&settings, "https://") {
            Some(url) => {
                let bearer = find(&settings, "Bearer ").unwrap();
                let client = connect(&here(url), &[("authorization", &here(bearer))]).await;
                answer(&client, "find_users", json!({})).await;
                remote += 1;
            }
            None => {
                assert_eq!(find(&settings, "halo-sync"), Some("halo-sync"), "{block}");
                assert_eq!(find(&settings, "mcp"), Some("mcp"), "{block}");
                local += 1;
            }
        }
    }
    assert_eq!((remote, local), (2, 1));
    // The command line of a client, as it is typed.
    let [typed] = blocks("sh").into_iter().filter(|b| b.contains("mcp add")).collect::<Vec<_>>()[..] else {
        panic!("one command that adds the server");
    };
    let words: Vec<_> = here(typed).split_whitespace().map(str::to_owned).collect();
    let url = words.iter().find(|word| word.starts_with("http:")).unwrap();
    assert!(typed.contains("--transport http") && typed.contains("--header"), "{typed}");
    let client = connect(url, &[("authorization", &format!("Bearer {key}"))]).await;
    let tools = client.list_all_tools().await.unwrap();
    for tool in &tools {
        assert!(PAGE.contains(&format!("`{}`", tool.name)), "{} is not told of", tool.name);
    }
    for template in client.list_all_resource_templates().await.unwrap() {
        assert!(PAGE.contains(&format!("`{}`", template.uri_template)), "{}", template.uri_template);
    }
}
