//! What is to be known of a hook: as it is configured, and with its secrets read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ureq::http::{HeaderName, HeaderValue};

use super::format::Format;
use super::message::Message;

/// One hook, as a person configures it. Secrets are never in it, only where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookConfig {
    /// What it is called in messages and in the spool [default: format and host].
    pub name: Option<String>,
    /// Where alerts are posted to. `@FILE` and `env:NAME` take it from there: many services put a
    /// secret into the URL, and command lines are seen by everybody.
    pub url: String,
    /// What is posted.
    pub format: Format,
    /// File with the secret: the signing key, or PagerDuty's routing key.
    pub secret_file: Option<PathBuf>,
    /// Environment variable with the secret.
    pub secret_env: Option<String>,
    /// Only alerts of these rules [default: all].
    pub rules: Vec<String>,
    /// Only alerts at least this severe: 1 worst to 3 [default: 3, all].
    pub min_severity: Option<u8>,
    /// Only alerts of these services: `address:port`, `address` or `:port` [default: all].
    pub services: Vec<String>,
    /// How long one try may take [default: 10s].
    pub timeout: Option<Duration>,
    /// File with a minijinja template of the body, for the format `template`.
    pub template: Option<PathBuf>,
    /// Proxy [default: from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY].
    pub proxy: Option<String>,
    /// PEM file with the certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// File with more headers, `Name: value` on each line.
    pub headers_file: Option<PathBuf>,
    /// Wait after the first failed try; it doubles with each [default: 1s].
    pub retry_min: Option<Duration>,
    /// The longest wait [default: 5m].
    pub retry_max: Option<Duration>,
}

/// A hook with everything read that it needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Hook {
    /// What it is called.
    pub name: String,
    /// Its folder in the spool.
    pub folder: String,
    /// Where alerts are posted to: may hold a secret.
    pub url: String,
    /// The host of that.
    pub host: String,
    /// What is posted.
    pub format: Format,
    /// The secret.
    pub secret: Option<String>,
    /// The body's template.
    pub template: Option<String>,
    /// More headers: may hold secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Certificates to trust, PEM.
    pub authorities: Option<Vec<u8>>,
    /// The configured proxy: may hold a password.
    pub proxy: Option<String>,
    /// How long one try may take.
    pub timeout: Duration,
    /// Waits between tries.
    pub retry: (Duration, Duration),
    rules: Vec<String>,
    min_severity: u8,
    services: Vec<String>,
}

impl Hook {
    /// Reads secrets and files.
    ///
    /// # Errors
    /// What is missing or wrong, without quoting a secret.
    pub fn new(config: &WebhookConfig) -> anyhow::Result<Self> {
        let url = indirect(&config.url)?;
        let uri: ureq::http::Uri = url.parse().map_err(|_| {
            anyhow::anyhow!(
                "webhook: the URL can't be read: give https://host/path, @FILE or env:NAME"
            )
        })?;
        let host = uri.host().unwrap_or_default().to_owned();
        let scheme = uri.scheme_str().unwrap_or_default();
        ensure!(
            matches!(scheme, "http" | "https") && !host.is_empty(),
            "webhook: the URL must begin with https://host or http://host"
        );
        ensure!(
            matches!(config.min_severity, None | Some(1..=3)),
            "webhook: min_severity is 1 (worst), 2 or 3 (all)"
        );
        let name =
            config.name.clone().unwrap_or_else(|| format!("{} {host}", config.format.name()));
        let hook = Self {
            folder: folder(&name, &url, config.format),
            secret: secret(config).with_context(|| format!("webhook {name}"))?,
            template: config.template.as_deref().map(text).transpose()?,
            headers: config.headers_file.as_deref().map(headers).transpose()?.unwrap_or_default(),
            authorities: config.ca_file.as_deref().map(bytes).transpose()?,
            proxy: config.proxy.clone(),
            timeout: config.timeout.unwrap_or(Duration::from_secs(10)),
            retry: (
                config.retry_min.unwrap_or(Duration::from_secs(1)),
                config.retry_max.unwrap_or(Duration::from_secs(300)),
            ),
            rules: config.rules.clone(),
            min_severity: config.min_severity.unwrap_or(3),
            services: config.services.clone(),
            name,
            url,
            host,
            format: config.format,
        };
        config.format.check(&hook).with_context(|| format!("webhook {}", hook.name))?;
        Ok(hook)
    }

    /// Whether this hook is to get this alert.
    #[must_use]
    pub fn wants(&self, message: &Message) -> bool {
        let rule = message.text(&["alert", "signature"]);
        let service = message.service();
        let address = service.rsplit_once(':').map_or(service, |(address, _)| address);
        let is_of = |wanted: &String| {
            service == wanted
                || address.trim_matches(['[', ']']) == wanted
                || (wanted.starts_with(':') && service[address.len()..] == **wanted)
        };
        message.severity() <= u64::from(self.min_severity)
            && (self.rules.is_empty() || self.rules.iter().any(|wanted| wanted == rule))
            && (self.services.is_empty() || self.services.iter().any(is_of))
    }

    /// The text without what must not be shown: the secret, and the URL behind its host.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        let path = self.url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let path = path.map(|(_, path)| path).filter(|path| path.len() >= 8);
        let headers = self.headers.iter().filter_map(|(_, value)| value.to_str().ok());
        let secrets = self.secret.as_deref().into_iter().chain(path).chain(headers);
        secrets
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

/// The spool folder's name: the same as long as format and URL are.
fn folder(name: &str, url: &str, format: Format) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{}\n{name}\n{url}", format.name()));
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hex}", format.name())
}

/// A value as it is, or from `@FILE` or `env:NAME`.
fn indirect(value: &str) -> anyhow::Result<String> {
    if let Some(path) = value.strip_prefix('@') {
        return Ok(text(Path::new(path))?.trim().to_owned());
    }
    match value.strip_prefix("env:") {
        Some(name) => environment(name),
        None => Ok(value.to_owned()),
    }
}

fn secret(config: &WebhookConfig) -> anyhow::Result<Option<String>> {
    match (&config.secret_file, &config.secret_env) {
        (Some(_), Some(_)) => bail!("give secret_file or secret_env, not both"),
        (Some(path), None) => Ok(Some(text(path)?.trim().to_owned())),
        (None, Some(name)) => environment(name).map(Some),
        (None, None) => Ok(None),
    }
}

fn environment(name: &str) -> anyhow::Result<String> {
    std::env::var(name)
        .map_err(|_| anyhow::anyhow!("the environment has no readable variable {name}"))
}

fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("webhook: reading {}", path.display()))
}

fn text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(bytes(path)?)
        .map_err(|_| anyhow::anyhow!("webhook: {} is not UTF-8", path.display()))
}

fn headers(path: &Path) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = Vec::new();
    for (n, line) in text(path)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let header = line.split_once(':').and_then(|(name, value)| {
            Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
        });
        let say = || format!("webhook: {} line {}: give `Name: value`", path.display(), n + 1);
        headers.push(header.with_context(say)?);
    }
    Ok(headers)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::hook_keys::KEYS;
    use serde_json::json;

    fn message(severity: u64, service: &str) -> Message {
        let event = json!({ "alert": {
            "signature": "tuple_reuse", "severity": severity, "group": { "service": service }
        } });
        let serde_json::Value::Object(event) = event else { unreachable!("an object") };
        Message { id: String::new(), key: String::new(), revision: 1, resolved: false, event }
    }

    /// The hook of a table with these keys.
    pub fn hook(table: serde_json::Value) -> anyhow::Result<Hook> {
        let mut config = WebhookConfig::default();
        for (name, value) in table.as_object().unwrap() {
            let key = KEYS.iter().find(|key| key.name == name).expect(name);
            let value = value.to_string();
            let value = toml::de::DeValue::parse(&value).expect("as in JSON");
            (key.set)(&mut config, &value).map_err(|(_, what)| anyhow::anyhow!(what))?;
        }
        Hook::new(&config)
    }

    #[test]
    fn filters() {
        let any = hook(json!({ "url": "http://h/" })).unwrap();
        assert!(any.wants(&message(3, "10.0.0.1:80")));
        let severe = hook(json!({ "url": "http://h/", "min_severity": 2 })).unwrap();
        assert!(severe.wants(&message(2, "")) && !severe.wants(&message(3, "")));
        for (service, wanted) in [
            ("10.0.0.1:80", true),
            ("10.0.0.1", true),
            (":80", true),
            (":8", false),
            ("10.0.0.1:8", false),
        ] {
            let hook = hook(json!({ "url": "http://h/", "services": [service] })).unwrap();
            assert_eq!(hook.wants(&message(1, "10.0.0.1:80")), wanted, "{service}");
        }
        let v6 = hook(json!({ "url": "http://h/", "services": ["2001:db8::1"] })).unwrap();
        assert!(v6.wants(&message(1, "[2001:db8::1]:80")));
        let other = hook(json!({ "url": "http://h/", "rules": ["churn"] })).unwrap();
        assert!(!other.wants(&message(1, "")));
    }

    #[test]
    fn mistakes_name_the_cure_and_no_secret() {
        let wrong = |config| format!("{:#}", hook(config).err().expect("refused"));
        assert!(wrong(json!({ "url": "hooks.example/abc" })).contains("https://host"));
        assert!(wrong(json!({ "url": "http://h/", "timeout": "soon" })).contains("90s"));
        assert!(wrong(json!({ "url": "env:XDPWATCH_NO_SUCH" })).contains("XDPWATCH_NO_SUCH"));
        assert!(
            wrong(json!({ "url": "http://h/", "format": "pagerduty" })).contains("routing key")
        );
        assert!(wrong(json!({ "url": "http://h/", "min_severity": 4 })).contains("1 (worst)"));
        let rules = wrong(json!({ "url": "http://h/", "rules": ["tuple_resue"] }));
        assert!(rules.contains("did you mean \"tuple_reuse\"? the rules are"), "{rules}");
        let said = wrong(json!({ "url": "ht tp://h/topsecret" }));
        assert!(!said.contains("topsecret"), "{said}");
    }

    #[test]
    fn secrets_are_scrubbed() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name)
        };
        let hook = hook(json!({
            "url": format!("@{}", file("url", "https://hooks.example/services/T0/B0/xyz\n").display()),
            "secret_file": file("secret", "whsec_AAAA\n"),
            "headers_file": file("headers", "Authorization: Bearer t0k3n\n\n"),
        }))
        .unwrap();
        assert_eq!(hook.host, "hooks.example");
        let text = "POST https://hooks.example/services/T0/B0/xyz whsec_AAAA Bearer t0k3n";
        assert_eq!(hook.scrub(text), "POST https://hooks.example/*** *** ***");
        assert!(!hook.folder.contains("xyz"));
    }
}
