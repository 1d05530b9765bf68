//! The hooks' command-line options and where the spool is.

use std::path::PathBuf;
use std::time::Duration;

use super::config::WebhookConfig;
use super::format::Format;
use crate::value_args::duration;

/// Options about webhooks.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Webhooks")]
pub struct Options {
    /// Post alerts to this URL; repeat it for several. `@FILE` or `env:NAME` take the URL from there:
    /// many hold a secret, and command lines are seen by everybody
    #[arg(long, value_name = "URL")]
    pub webhook: Vec<String>,
    /// What is posted: one for all hooks, or one for each in order
    #[arg(long, value_name = "FORMAT", value_enum, requires = "webhook")]
    pub webhook_format: Vec<Format>,
    /// File with the secret (signing key, PagerDuty routing key): one for all hooks, or one for each
    /// in order [default: the environment's XDPWATCH_WEBHOOK_SECRET, if set]
    #[arg(long, value_name = "FILE", requires = "webhook")]
    pub webhook_secret_file: Vec<PathBuf>,
    /// Post only alerts at least this severe, 1 worst to 3
    #[arg(long, value_name = "N", requires = "webhook")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=3))]
    pub webhook_min_severity: Option<u8>,
    /// File with the body's template, for the format `template`
    #[arg(long, value_name = "FILE", requires = "webhook")]
    pub webhook_template: Option<PathBuf>,
    /// PEM file with the certificates to trust instead of the system's
    #[arg(long, value_name = "FILE", requires = "webhook")]
    pub webhook_ca_file: Option<PathBuf>,
    /// How long one try may take
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    pub webhook_timeout: Duration,
    /// Wait after the first failed try; it doubles with each, up to 5m
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub webhook_retry: Duration,
    /// At the end of files, wait this long for deliveries (at the end of live capture 3s at most)
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub webhook_wait: Duration,
    /// Where alerts wait until they are delivered [default: $STATE_DIRECTORY/spool, else live
    /// /var/lib/xdpwatch/spool and for files $XDG_STATE_HOME/xdpwatch/spool]
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    /// The hooks that configuration files describe, where the command line names none.
    #[arg(skip)]
    pub tables: Vec<WebhookConfig>,
}

/// The environment variable with the secret of hooks that name no file.
const SECRET_ENV: &str = "XDPWATCH_WEBHOOK_SECRET";

impl Options {
    /// The hooks that the options describe.
    ///
    /// # Errors
    /// Neither one format or secret for all nor one for each.
    pub fn configs(&self) -> anyhow::Result<Vec<WebhookConfig>> {
        if self.webhook.is_empty() {
            return Ok(self.tables.iter().map(|table| self.completed(table)).collect());
        }
        let count = self.webhook.len();
        for (given, option) in [
            (self.webhook_format.len(), "--webhook-format"),
            (self.webhook_secret_file.len(), "--webhook-secret-file"),
        ] {
            anyhow::ensure!(
                given <= 1 || given == count,
                "{option}: give one for all hooks or one for each of the {count}, in order"
            );
        }
        let secret_env = std::env::var_os(SECRET_ENV).map(|_| SECRET_ENV.to_owned());
        let config = |(n, url): (usize, &String)| {
            let secret_file = nth(&self.webhook_secret_file, n);
            WebhookConfig {
                url: url.clone(),
                format: nth(&self.webhook_format, n).unwrap_or_default(),
                secret_env: if secret_file.is_none() { secret_env.clone() } else { None },
                secret_file,
                min_severity: self.webhook_min_severity,
                timeout: Some(self.webhook_timeout),
                template: self.webhook_template.clone(),
                ca_file: self.webhook_ca_file.clone(),
                retry_min: Some(self.webhook_retry),
                ..WebhookConfig::default()
            }
        };
        Ok(self.webhook.iter().enumerate().map(config).collect())
    }

    /// Whether there is any hook.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.webhook.is_empty() || !self.tables.is_empty()
    }

    /// A hook of a file with what is said for all.
    fn completed(&self, table: &WebhookConfig) -> WebhookConfig {
        let has_secret = table.secret_file.is_some() || table.secret_env.is_some();
        let secret_env = std::env::var_os(SECRET_ENV).filter(|_| !has_secret);
        WebhookConfig {
            secret_env: secret_env.map(|_| SECRET_ENV.to_owned()).or(table.secret_env.clone()),
            timeout: table.timeout.or(Some(self.webhook_timeout)),
            retry_min: table.retry_min.or(Some(self.webhook_retry)),
            ..table.clone()
        }
    }

    /// The spool's folder.
    #[must_use]
    pub fn spool(&self, is_live: bool) -> PathBuf {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(dir) = &self.spool_dir {
            return dir.clone();
        }
        if let Some(dir) = variable("STATE_DIRECTORY") {
            return PathBuf::from(dir).join("spool");
        }
        if is_live {
            return PathBuf::from("/var/lib/xdpwatch/spool");
        }
        let home = || Some(PathBuf::from(variable("HOME")?).join(".local/state"));
        let state = variable("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
        state.unwrap_or_else(std::env::temp_dir).join("xdpwatch/spool")
    }
}

/// The one for all, or the n-th.
fn nth<T: Clone>(given: &[T], n: usize) -> Option<T> {
    if given.len() == 1 { given.first().cloned() } else { given.get(n).cloned() }
}
