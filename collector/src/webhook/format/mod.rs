//! The bodies that receivers expect, one file each, and what their answers mean.

mod alertmanager;
mod chat;
mod dingtalk;
mod feishu;
mod pagerduty;
mod slack;
mod standard;
mod teams;
mod template;
mod wecom;

use std::time::SystemTime;

use anyhow::ensure;
use clap::ValueEnum;

use super::config::Hook;
use super::message::Message;

/// What is posted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The event as JSON, with the headers of Standard Webhooks.
    #[default]
    Standard,
    /// Prometheus Alertmanager's API: POST to .../api/v2/alerts.
    Alertmanager,
    /// What Alertmanager itself posts to webhook receivers (version 4).
    AlertmanagerWebhook,
    /// PagerDuty Events API version 2; the secret is the routing key.
    Pagerduty,
    /// Slack's incoming webhooks.
    Slack,
    /// Microsoft Teams: an adaptive card for a workflow.
    Teams,
    /// Feishu and Lark bots; with a secret, signed.
    Feishu,
    /// DingTalk bots; with a secret, signed.
    Dingtalk,
    /// WeCom (WeChat Work) bots.
    Wecom,
    /// The user's own template.
    Template,
}

/// One request to be made.
pub struct Request {
    /// Where to.
    pub url: String,
    /// Headers besides the hook's own.
    pub headers: Vec<(&'static str, String)>,
    /// The body, JSON.
    pub body: Vec<u8>,
}

/// What an answer with a 2xx status says in its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken.
    Accepted,
    /// Try again later.
    Later(String),
    /// It would be refused again.
    Refused(String),
}

impl Format {
    /// Its name, as configured.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Alertmanager => "alertmanager",
            Self::AlertmanagerWebhook => "alertmanager-webhook",
            Self::Pagerduty => "pagerduty",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Feishu => "feishu",
            Self::Dingtalk => "dingtalk",
            Self::Wecom => "wecom",
            Self::Template => "template",
        }
    }

    /// Whether the hook has what this format needs.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(self, hook: &Hook) -> anyhow::Result<()> {
        match self {
            Self::Standard => hook
                .secret
                .as_deref()
                .map_or(Ok(()), |secret| super::sign::Key::parse(secret).map(|_| ())),
            Self::Pagerduty => {
                ensure!(hook.secret.is_some(), "give the routing key in a secret file");
                Ok(())
            }
            Self::Template => template::check(hook),
            _ => Ok(()),
        }
    }

    /// The request for a message, as of now.
    ///
    /// # Errors
    /// The user's template can't be filled in.
    pub fn request(
        self,
        hook: &Hook,
        message: &Message,
        now: SystemTime,
    ) -> anyhow::Result<Request> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(match self {
            Self::Standard => standard::request(hook, message, now.as_secs()),
            Self::Alertmanager => json(hook, &alertmanager::alerts(message, now.as_secs())),
            Self::AlertmanagerWebhook => json(hook, &alertmanager::webhook(message)),
            Self::Pagerduty => json(hook, &pagerduty::event(hook, message)),
            Self::Slack => json(hook, &slack::body(message)),
            Self::Teams => json(hook, &teams::body(message)),
            Self::Feishu => json(hook, &feishu::body(hook, message, now.as_secs())),
            Self::Dingtalk => {
                let url = dingtalk::url(hook, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
                Request { url, ..json(hook, &dingtalk::body(message)) }
            }
            Self::Wecom => json(hook, &wecom::body(message)),
            Self::Template => template::request(hook, message)?,
        })
    }

    /// What the body of an answer with a 2xx status says.
    #[must_use]
    pub fn verdict(self, body: &str) -> Verdict {
        match self {
            Self::Feishu => chat::verdict(body, "code", "msg", &[9499, 11232, 99_991_400]),
            Self::Dingtalk => chat::verdict(body, "errcode", "errmsg", &[-1, 130_101, 410_100]),
            Self::Wecom => chat::verdict(body, "errcode", "errmsg", &[-1, 45009]),
            _ => Verdict::Accepted,
        }
    }
}

fn json(hook: &Hook, body: &serde_json::Value) -> Request {
    Request { url: hook.url.clone(), headers: Vec::new(), body: body.to_string().into_bytes() }
}

#[cfg(test)]
mod tests;
