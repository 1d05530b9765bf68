//! What is answered to which request. Reading only: nothing that comes in changes anything.

use std::path::{Path, PathBuf};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::metrics;
use crate::evidence::store::{file_name, id_of};
use crate::state::State;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const PCAPNG: &str = "application/x-pcapng";

type Answer = Response<Full<Bytes>>;

/// What answers are made from.
pub struct Site {
    /// What there is to tell.
    pub state: State,
    /// Where evidence files are.
    pub evidence: Option<PathBuf>,
    /// The digest of the token, if one is asked for: comparing digests takes the same time for any
    /// wrong token.
    token: Option<[u8; 32]>,
}

impl Site {
    /// A site that asks for `token`, if there is one.
    #[must_use]
    pub fn new(state: State, evidence: Option<PathBuf>, token: Option<&str>) -> Self {
        Self { state, evidence, token: token.map(|token| Sha256::digest(token).into()) }
    }

    /// Answers a request; its body is not looked at.
    pub fn answer<B>(&self, request: &Request<B>) -> Answer {
        let mut answer = self.choose(request);
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    fn choose<B>(&self, request: &Request<B>) -> Answer {
        let path = request.uri().path();
        if path != "/healthz" && !self.knows(request) {
            let mut answer = say(StatusCode::UNAUTHORIZED, "send the token: Authorization: Bearer");
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return answer;
        }
        // HEAD gets the head of the same answer: the body is left out where it would be sent.
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut answer = say(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD: nothing here can be changed",
            );
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            "/metrics" => match metrics::text(&self.state) {
                Ok(text) => with(OPENMETRICS, text),
                Err(_) => say(StatusCode::INTERNAL_SERVER_ERROR, "metrics can't be written"),
            },
            "/healthz" => say(StatusCode::OK, "alive"),
            "/readyz" => self.readiness(),
            "/api/v1/alerts" => json(&self.state.seen().alerts()),
            "/api/v1/services" => json(&self.state.seen().services()),
            "/api/v1/stats" => {
                let seen = self.state.seen();
                let events: Vec<_> = seen.vantages.iter().map(|shown| &shown.event).collect();
                json(&json!({ "vantages": events }))
            }
            path => match path.strip_prefix("/api/v1/evidence/") {
                Some(id) => self.evidence(id),
                None => say(
                    StatusCode::NOT_FOUND,
                    "there are /metrics, /healthz, /readyz, /api/v1/alerts, /api/v1/services, \
                     /api/v1/stats and /api/v1/evidence/ID",
                ),
            },
        }
    }

    fn readiness(&self) -> Answer {
        let seen = self.state.seen();
        match (seen.trouble(), &seen.unconfined) {
            (Some(trouble), _) => say(StatusCode::SERVICE_UNAVAILABLE, &trouble),
            (None, None) => say(StatusCode::OK, "ready"),
            (None, Some(what)) => say(StatusCode::OK, &format!("ready; not in force: {what}")),
        }
    }

    fn knows<B>(&self, request: &Request<B>) -> bool {
        let Some(expected) = self.token else { return true };
        let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        // The scheme's case does not matter (RFC 9110, 11.1).
        let parts = given.and_then(|given| given.split_at_checked(b"Bearer ".len()));
        let parts = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
        let token = parts.map(|(_, token)| token);
        token.is_some_and(|token| <[u8; 32]>::from(Sha256::digest(token)) == expected)
    }

    /// The evidence file of an alert, by its id or its file's name.
    fn evidence(&self, name: &str) -> Answer {
        let id = id_of(name).or_else(|| id_of(&format!("{name}.pcapng")));
        let Some(folder) = &self.evidence else {
            return say(
                StatusCode::NOT_FOUND,
                "no evidence is kept: start with --evidence-dir DIR",
            );
        };
        let Some(id) = id else {
            return say(StatusCode::NOT_FOUND, "give an alert's id: 16 hexadecimal digits");
        };
        // The name is made anew from the number: no path of a client's gets here.
        match std::fs::read(Path::new(folder).join(file_name(id))) {
            Ok(bytes) => with(PCAPNG, bytes),
            Err(_) => say(StatusCode::NOT_FOUND, "no evidence of this alert is kept (any more)"),
        }
    }
}

fn say(status: StatusCode, text: &str) -> Answer {
    let mut answer = with(TEXT, format!("{text}\n"));
    *answer.status_mut() = status;
    answer
}

fn json(value: &Value) -> Answer {
    with(JSON, format!("{value}\n"))
}

fn with(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
