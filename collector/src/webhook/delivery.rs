//! One try: a request over HTTP, and what its outcome means. Redirects are not followed, so that an
//! alert never goes to a host that nobody configured.

use std::io::Read;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use ureq::Agent;
use ureq::http::header::RETRY_AFTER;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::config::Hook;
use super::format::Verdict;
use super::message::Message;
use super::retry::retry_after;

/// No more of an answer is read.
const ANSWER_MAX: u64 = 16 << 10;

/// How much of an answer is told.
const ANSWER_TOLD: usize = 200;

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other end has it.
    Delivered {
        /// The answer, in short.
        answer: String,
    },
    /// It may work later.
    Failed {
        /// Why, without secrets.
        reason: String,
        /// What the other end asks to wait.
        wait: Option<Duration>,
    },
    /// It would be refused again.
    Refused {
        /// Why, without secrets.
        reason: String,
    },
}

/// An HTTP client for one hook.
pub struct Client {
    agent: Agent,
}

impl Client {
    /// Sets up TLS, proxy and time limits.
    ///
    /// # Errors
    /// The private authorities or the proxy can't be read.
    pub fn new(hook: &Hook) -> anyhow::Result<Self> {
        let roots = match &hook.authorities {
            None => RootCerts::PlatformVerifier,
            Some(pem) => RootCerts::new_with_certs(&certificates(pem).with_context(|| {
                format!("webhook {}: ca_file must hold PEM certificates", hook.name)
            })?),
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(hook.timeout))
            .user_agent(concat!("xdpwatch/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots).build());
        if let Some(proxy) = &hook.proxy {
            let proxy = ureq::Proxy::new(proxy).map_err(|_| {
                anyhow::anyhow!("webhook {}: the proxy must be http://host:port", hook.name)
            })?;
            config = config.proxy(Some(proxy));
        }
        Ok(Self { agent: config.build().new_agent() })
    }

    /// Tries once.
    #[must_use]
    pub fn send(&self, hook: &Hook, message: &Message) -> Outcome {
        let now = SystemTime::now();
        let request = match hook.format.request(hook, message, now) {
            Ok(request) => request,
            Err(error) => return Outcome::Refused { reason: hook.scrub(&format!("{error:#}")) },
        };
        let mut builder = self.agent.post(&request.url);
        let own_type = hook.headers.iter().any(|(name, _)| name == "content-type");
        if !own_type {
            builder = builder.header("content-type", "application/json");
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        for (name, value) in &hook.headers {
            builder = builder.header(name, value);
        }
        match builder.send(&request.body[..]) {
            Ok(response) => judge(hook, response, now),
            Err(error) => failed(hook, explain(hook, &error)),
        }
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Certificate<'static>>> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item? {
            certificates.push(certificate);
        }
    }
    anyhow::ensure!(!certificates.is_empty(), "no certificate in it");
    Ok(certificates)
}

fn failed(hook: &Hook, reason: String) -> Outcome {
    Outcome::Failed { reason: hook.scrub(&reason), wait: None }
}

/// What an answer means: its status first, then what the service writes into a good one's body.
fn judge(hook: &Hook, response: ureq::http::Response<ureq::Body>, now: SystemTime) -> Outcome {
    let status = response.status().as_u16();
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = header.and_then(|value| retry_after(value, now));
    let mut body = Vec::new();
    let read = response.into_body().into_reader().take(ANSWER_MAX).read_to_end(&mut body);
    let body = String::from_utf8_lossy(&body);
    let answer = hook.scrub(&format!("status {status}{}", start(&body)));
    match status {
        // The whole answer counts: what ended in the middle may have been refused in its rest.
        200..=299 => match (read, hook.format.verdict(&body)) {
            (Err(error), _) => failed(hook, format!("{answer}, then cut off: {error}")),
            (Ok(_), Verdict::Accepted) => Outcome::Delivered { answer },
            (Ok(_), Verdict::Later(said)) => failed(hook, said),
            (Ok(_), Verdict::Refused(said)) => Outcome::Refused { reason: hook.scrub(&said) },
        },
        300..=399 => {
            failed(hook, format!("status {status}: redirects are not followed, give the last URL"))
        }
        408 | 429 | 500.. => Outcome::Failed { reason: answer, wait },
        _ => Outcome::Refused { reason: answer },
    }
}

/// The first part of an answer's body, on one line.
fn start(body: &str) -> String {
    let line: String = body.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return String::new();
    }
    format!(": {}", line.chars().take(ANSWER_TOLD).collect::<String>())
}

/// Why a request failed, in words. The library's own would quote the URL.
fn explain(hook: &Hook, error: &ureq::Error) -> String {
    let host = &hook.host;
    match error {
        ureq::Error::Timeout(_) => format!("{host}: no answer within {:?}", hook.timeout),
        ureq::Error::HostNotFound => format!("{host}: no such host"),
        ureq::Error::Io(error) => format!("{host}: {error}"),
        ureq::Error::Rustls(error) => format!("{host}: TLS: {error}"),
        ureq::Error::Tls(error) => format!("{host}: TLS: {error}"),
        ureq::Error::ConnectionFailed => format!("{host}: no connection"),
        ureq::Error::ConnectProxyFailed(error) => format!("the proxy refused {host}: {error}"),
        ureq::Error::Protocol(_) => format!("{host}: the answer is not HTTP, or was cut off"),
        ureq::Error::BadUri(_) => format!("{host}: the URL can't be used"),
        _ => format!("{host}: the request failed"),
    }
}
