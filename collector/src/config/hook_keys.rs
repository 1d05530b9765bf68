//! The keys of a `[[webhook]]` table: what each takes and means.

use std::ops::Range;
use std::path::PathBuf;

use clap::ValueEnum;
use toml::Spanned;
use toml::de::DeValue;
use xdpwatch_core::detect::RULES;

use super::files::scalar;
use super::keys::Kind;
use super::mistake::nearest;
use crate::value_args::duration;
use crate::webhook::config::WebhookConfig;
use crate::webhook::format::Format;

/// A value with its place.
type Value<'a> = Spanned<DeValue<'a>>;

/// What is wrong, and where.
type Wrong = (Range<usize>, String);

/// A key.
#[derive(Debug)]
pub struct HookKey {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// A value, as TOML.
    pub sample: &'static str,
    /// Takes a value.
    pub set: fn(&mut WebhookConfig, &Value<'_>) -> Result<(), Wrong>,
    /// What was taken, as TOML; `None` where nothing was. No secret is in it.
    pub shown: fn(&WebhookConfig) -> Option<toml::Value>,
}

macro_rules! keys {
    ($($name:ident, $sample:literal, $help:literal, $read:expr, $shown:expr;)+) => {
        /// Every key.
        pub const KEYS: &[HookKey] = &[$(HookKey {
            name: stringify!($name),
            help: $help,
            sample: $sample,
            set: |config, value| {
                config.$name = $read(value)?;
                Ok(())
            },
            shown: |config| $shown(&config.$name),
        },)+];

        /// A field without a key does not compile.
        const _: fn(WebhookConfig) = |WebhookConfig { $($name: _,)+ }| {};
    };
}

keys! {
    name, r#""chat""#, "What it is called in messages and in the spool [default: format and host]",
        |value| text(value).map(Some), words;
    url, r#""@/etc/xdpwatch/chat.url""#,
        "Where alerts are posted to; \"@FILE\" and \"env:NAME\" take it from there: many hold a secret",
        text, |url: &String| Some(hidden(url).into());
    format, r#""slack""#, "What is posted", format,
        |format: &Format| Some(toml::Value::from(format.name()));
    secret_file, r#""/etc/xdpwatch/chat.secret""#,
        "File with the secret: the signing key, or PagerDuty's routing key",
        |value| path(value).map(Some), file;
    secret_env, r#""CHAT_SECRET""#, "Environment variable with the secret, instead of a file",
        |value| text(value).map(Some), words;
    rules, r#"["tuple_reuse", "port_pressure"]"#, "Only alerts of these rules [default: all]",
        |value| list(value, rule), strings;
    min_severity, "2", "Only alerts at least this severe: 1 worst to 3 [default: 3, all]",
        |value| severity(value).map(Some), |least: &Option<u8>| least.map(|least| i64::from(least).into());
    services, r#"["10.0.0.51:80", ":8443"]"#,
        "Only alerts of these services: address and port, address, or port [default: all]",
        |value| list(value, service), strings;
    timeout, r#""10s""#, "How long one try may take [default: that of [webhooks]]",
        |value| time(value).map(Some), shown_time;
    template, r#""/etc/xdpwatch/chat.template""#,
        "File with a minijinja template of the body, for the format \"template\"",
        |value| path(value).map(Some), file;
    proxy, r#""http://proxy.example:3128""#,
        "Proxy [default: from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY]",
        |value| text(value).map(Some),
        |proxy: &Option<String>| proxy.as_deref().map(|proxy| without_user(proxy).into());
    ca_file, r#""/etc/xdpwatch/ca.pem""#,
        "PEM file with the certificates to trust instead of the system's",
        |value| path(value).map(Some), file;
    headers_file, r#""/etc/xdpwatch/chat.headers""#, "File with more headers, `Name: value` on each line",
        |value| path(value).map(Some), file;
    retry_min, r#""1s""#,
        "Wait after the first failed try; it doubles with each [default: that of [webhooks]]",
        |value| time(value).map(Some), shown_time;
    retry_max, r#""5m""#, "The longest wait [default: 5m]",
        |value| time(value).map(Some), shown_time;
}

/// What is to be said of a key that is none.
pub fn unknown(name: &str) -> String {
    let hint = nearest(name, KEYS.iter().map(|key| key.name));
    let hint = hint.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    format!("there is no such key{hint}")
}

fn text(value: &Value<'_>) -> Result<String, Wrong> {
    let text = scalar(Kind::Text, value.get_ref()).map_err(|what| (value.span(), what))?;
    if text.is_empty() {
        return Err((value.span(), "it is empty".to_owned()));
    }
    Ok(text)
}

fn path(value: &Value<'_>) -> Result<PathBuf, Wrong> {
    text(value).map(PathBuf::from)
}

fn time(value: &Value<'_>) -> Result<std::time::Duration, Wrong> {
    let wrong = |what| (value.span(), what);
    let text = scalar(Kind::Time, value.get_ref()).map_err(wrong)?;
    duration(&text).map_err(|what| wrong(format!("\"{text}\" is not accepted: {what}")))
}

fn severity(value: &Value<'_>) -> Result<u8, Wrong> {
    let wrong = |what| (value.span(), what);
    let number = scalar(Kind::Number, value.get_ref()).map_err(wrong)?;
    match number.parse() {
        Ok(severity @ 1..=3) => Ok(severity),
        _ => Err(wrong(format!("{number} is out of range: give 1 (worst), 2 or 3 (all)"))),
    }
}

fn format(value: &Value<'_>) -> Result<Format, Wrong> {
    let word = text(value)?;
    let formats = || Format::value_variants().iter().map(|format| format.name());
    Format::value_variants().iter().find(|format| format.name() == word).copied().ok_or_else(|| {
        let hint = nearest(&word, formats());
        let hint = hint.map(|meant| format!("did you mean \"{meant}\"? ")).unwrap_or_default();
        let all = formats().collect::<Vec<_>>().join(", ");
        (value.span(), format!("\"{word}\" is no format; {hint}give one of {all}"))
    })
}

fn list(value: &Value<'_>, check: fn(&str) -> Result<(), String>) -> Result<Vec<String>, Wrong> {
    let elements: Vec<_> = match value.get_ref() {
        DeValue::Array(array) => array.iter().collect(),
        _ => vec![value],
    };
    let element = |element: &Value<'_>| {
        let word = text(element)?;
        check(&word).map(|()| word).map_err(|what| (element.span(), what))
    };
    elements.into_iter().map(element).collect()
}

fn rule(name: &str) -> Result<(), String> {
    if RULES.iter().any(|rule| rule.name == name) {
        return Ok(());
    }
    let names = || RULES.iter().map(|rule| rule.name);
    let hint = nearest(name, names());
    let hint = hint.map(|meant| format!("did you mean \"{meant}\"? ")).unwrap_or_default();
    let all = names().collect::<Vec<_>>().join(", ");
    Err(format!("\"{name}\" is no rule; {hint}the rules are {all}"))
}

fn service(text: &str) -> Result<(), String> {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_service = text.strip_prefix(':').is_some_and(is_port)
        || text.parse::<std::net::IpAddr>().is_ok()
        || text.parse::<std::net::SocketAddr>().is_ok();
    let what =
        || format!("\"{text}\" is no service: give \"10.0.0.51:80\", \"10.0.0.51\" or \":80\"");
    if is_service { Ok(()) } else { Err(what()) }
}

fn words(text: &Option<String>) -> Option<toml::Value> {
    text.clone().map(Into::into)
}

fn file(path: &Option<PathBuf>) -> Option<toml::Value> {
    path.as_ref().map(|path| path.display().to_string().into())
}

fn strings(list: &[String]) -> Option<toml::Value> {
    (!list.is_empty()).then(|| list.to_vec().into())
}

fn shown_time(time: &Option<std::time::Duration>) -> Option<toml::Value> {
    time.map(|time| format!("{}ms", time.as_millis()).into())
}

/// A URL without what may be a secret: all behind its host.
#[must_use]
pub fn hidden(url: &str) -> String {
    if url.starts_with('@') || url.starts_with("env:") {
        return url.to_owned();
    }
    let url = without_user(url);
    let Some((scheme, rest)) = url.split_once("://") else { return "***".to_owned() };
    match rest.find(['/', '?', '#']) {
        Some(end) if rest[end..].len() > 1 => format!("{scheme}://{}/***", &rest[..end]),
        _ => url,
    }
}

/// A URL without user and password.
fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***@{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_show_no_secret() {
        for (url, shown) in [
            ("@/etc/hook.url", "@/etc/hook.url"),
            ("env:HOOK", "env:HOOK"),
            ("https://hooks.example/services/T0/B0/x", "https://hooks.example/***"),
            ("https://hooks.example/", "https://hooks.example/"),
            ("https://hooks.example?token=x", "https://hooks.example/***"),
            ("http://user:secret@proxy:3128", "http://***@proxy:3128"),
            ("secret", "***"),
        ] {
            assert_eq!(hidden(url), shown);
        }
    }

    #[test]
    fn samples_are_accepted() {
        let mut config = WebhookConfig::default();
        for key in KEYS {
            let value = DeValue::parse(key.sample).expect(key.name);
            assert_eq!((key.set)(&mut config, &value), Ok(()), "{}", key.name);
            assert!((key.shown)(&config).is_some(), "{}", key.name);
        }
    }
}
