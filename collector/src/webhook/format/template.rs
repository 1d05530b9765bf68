//! The user's own body: a minijinja template, filled in with the event's keys, `id`, `key`,
//! `revision` and `resolved`.

use anyhow::Context;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::json;

use super::Request;
use crate::webhook::config::Hook;
use crate::webhook::message::Message;

const NAME: &str = "template";

/// Instructions of the template's machine that one message may take.
const FUEL: u64 = 1_000_000;

/// Whether there is a template and it can be parsed.
pub fn check(hook: &Hook) -> anyhow::Result<()> {
    let source = hook.template.as_deref().context("the format template needs a template file")?;
    environment(source).map(|_| ())
}

/// The request.
pub fn request(hook: &Hook, message: &Message) -> anyhow::Result<Request> {
    let environment = environment(hook.template.as_deref().unwrap_or_default())?;
    let mut context = message.event.clone();
    context.insert("id".to_owned(), json!(message.id));
    context.insert("key".to_owned(), json!(message.key));
    context.insert("revision".to_owned(), json!(message.revision));
    context.insert("resolved".to_owned(), json!(message.resolved));
    let body =
        environment.get_template(NAME)?.render(context).context("filling in the template")?;
    Ok(Request { url: hook.url.clone(), headers: Vec::new(), body: body.into_bytes() })
}

fn environment(source: &str) -> anyhow::Result<Environment<'_>> {
    let mut environment = Environment::new();
    // A misspelt key is a mistake to be told, not an empty text in an alert.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    environment.add_template(NAME, source).context("reading the template")?;
    Ok(environment)
}
