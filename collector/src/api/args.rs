//! The command line's part about the HTTP server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::usage::Usage;
use anyhow::Context as _;

/// Where it listens in live capture if nothing is said.
pub const DEFAULT: &str = "127.0.0.1:9435";

/// The environment variable that may hold the token.
const TOKEN_VARIABLE: &str = "XDPWATCH_TOKEN";

/// A token shorter than this can be guessed.
const TOKEN_MIN: usize = 16;

/// Options about metrics and API.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Metrics and API")]
pub struct ApiArgs {
    /// Serve /metrics, /healthz, /readyz and /api/v1 over HTTP here; `off` for nowhere. Elsewhere
    /// than on loopback it needs a token and TLS [default: 127.0.0.1:9435 live, off for files]
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen)]
    pub listen: Option<Listen>,
    /// Ask for this token: a file that holds it (or put it into the environment, XDPWATCH_TOKEN);
    /// clients send `Authorization: Bearer TOKEN`
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate chain for TLS, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

fn listen(text: &str) -> Result<Listen, String> {
    if text == "off" {
        return Ok(Listen::Off);
    }
    text.parse()
        .map(Listen::At)
        .map_err(|_| "give an address and a port, 127.0.0.1:9435".to_owned())
}

/// What the server is to do, checked.
pub struct Plan {
    /// Where it listens.
    pub at: SocketAddr,
    /// Whether somebody asked for just this address.
    pub is_asked_for: bool,
    /// What clients must know.
    pub token: Option<String>,
    /// Certificate chain and key, by file name.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl ApiArgs {
    /// What follows for a run that captures live, or reads files.
    ///
    /// # Errors
    /// The token can't be had, or an address that others reach lacks token or TLS.
    pub fn plan(&self, is_live: bool) -> anyhow::Result<Option<Plan>> {
        let at = match self.listen {
            Some(Listen::Off) => return Ok(None),
            None if !is_live => return Ok(None),
            Some(Listen::At(at)) => at,
            None => DEFAULT.parse().context("the default address")?,
        };
        let token = self.token()?;
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        if !at.ip().is_loopback() && (token.is_none() || tls.is_none()) {
            anyhow::bail!(Usage(format!(
                "--listen {at} can be reached from elsewhere: add --token-file FILE (or set \
                 {TOKEN_VARIABLE}), --tls-cert FILE and --tls-key FILE, or listen on 127.0.0.1"
            )));
        }
        Ok(Some(Plan { at, is_asked_for: self.listen.is_some(), token, tls }))
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let (token, from) = match &self.token_file {
            Some(path) => (read(path)?, format!("--token-file {}", path.display())),
            None => match std::env::var(TOKEN_VARIABLE) {
                Ok(token) => (token, TOKEN_VARIABLE.to_owned()),
                Err(_) => return Ok(None),
            },
        };
        let token = token.trim().to_owned();
        anyhow::ensure!(
            token.len() >= TOKEN_MIN && token.bytes().all(|byte| byte.is_ascii_graphic()),
            "{from}: give a token of at least {TOKEN_MIN} printable characters, for example from \
             `openssl rand -hex 32`"
        );
        Ok(Some(token))
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading the token, {}", path.display()))
}
