//! The registry: create a version, move it, find it by alias, search.

use anyhow::Result;
use serde_json::json;

use super::calls::text;
use crate::{
    arena::{Duel, Spec},
    client::Client,
    report::{Bar, Report},
};

type Op = fn(&mut Client, &str, usize) -> Result<()>;

/// Two rows for each call, for one connection and for eight; each connection has a model of its own, with five versions to
/// begin with.
pub fn run(duel: &Duel<'_>, report: &mut Report) -> Result<()> {
    let calls: [(&str, Op); 4] = [
        ("create version", create),
        ("transition", transition),
        ("get by alias", by_alias),
        ("search versions", search),
    ];
    for (name, op) in calls {
        for concurrency in [1, 8] {
            let spec = Spec {
                scenario: "registry",
                variant: format!("{name}, concurrency {concurrency}"),
                keys: 0,
                concurrency,
                bars: vec![Bar::Cpu(40.0)],
            };
            let word = name.replace(' ', "-");
            duel.compare(report, &spec, |target, _, round| {
                target.drive(
                    concurrency,
                    duel.arena.options.time(),
                    |client, number| prepare(client, &format!("{word}-{concurrency}-{round}-{number}")),
                    |client, model, number| op(client, model, number),
                )
            })?;
        }
    }
    Ok(())
}

fn prepare(client: &mut Client, name: &str) -> Result<String> {
    let model = client.post_json("registered-models/create", &json!({ "name": name }))?;
    let model = text(&model, "/registered_model/name")?;
    for number in 0..5 {
        create(client, &model, number)?;
    }
    let alias = json!({"name": model, "alias": "champion", "version": "3"});
    client.post("registered-models/alias", alias.to_string().as_bytes())?;
    Ok(model)
}

fn create(client: &mut Client, model: &str, number: usize) -> Result<()> {
    let body = format!(
        r#"{{"name":"{model}","source":"s3://bucket/{model}/{number}","description":"of the bench","tags":[{{"key":"n","value":"{number}"}}]}}"#
    );
    client.post("model-versions/create", body.as_bytes()).map(drop)
}

fn transition(client: &mut Client, model: &str, number: usize) -> Result<()> {
    let stage = if number.is_multiple_of(2) {
        "Staging"
    } else {
        "Production"
    };
    let version = number / 2 % 5 + 1;
    let body = format!(
        r#"{{"name":"{model}","version":"{version}","stage":"{stage}","archive_existing_versions":false}}"#
    );
    client
        .post("model-versions/transition-stage", body.as_bytes())
        .map(drop)
}

fn by_alias(client: &mut Client, model: &str, _: usize) -> Result<()> {
    client
        .get(&format!("registered-models/alias?name={model}&alias=champion"))
        .map(drop)
}

fn search(client: &mut Client, model: &str, _: usize) -> Result<()> {
    client
        .get(&format!(
            "model-versions/search?filter=name%3D%27{model}%27&max_results=100"
        ))
        .map(drop)
}
