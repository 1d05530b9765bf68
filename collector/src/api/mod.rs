//! Metrics, health and alerts over HTTP: a small server on a thread of its own, reading only.
//!
//! It is bounded in every direction: connections at once, bytes of a request's head, time for it.

pub mod args;
pub mod metrics;
mod routes;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::log::complain;
use crate::state::State;
use args::Plan;
use routes::Site;

/// Connections at once; more are closed without a word.
const CONNECTIONS_MAX: usize = 32;

/// Bytes of a request's head.
const HEAD_MAX: usize = 16 << 10;

/// For a TLS handshake, and for a request's head; a connection without requests ends with it too.
const PATIENCE: Duration = Duration::from_secs(5);

/// For a whole connection, however its other end reads.
const CONNECTION: Duration = Duration::from_secs(60);

/// After an error of accepting: most are for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts the server. A default address that is taken is said, and done without.
///
/// # Errors
/// The address can't be listened on, or certificate and key can't be used.
pub fn serve(plan: Plan, state: State, evidence: Option<PathBuf>) -> anyhow::Result<()> {
    let listener = match std::net::TcpListener::bind(plan.at) {
        Ok(listener) => listener,
        Err(error) if !plan.is_asked_for => {
            warn!("no metrics: {} can't be listened on: {error}; say --listen ADDR:PORT", plan.at);
            return Ok(());
        }
        Err(error) => {
            return Err(error).context(format!(
                "--listen {}: can't be listened on; is it this host's, and free?",
                plan.at
            ));
        }
    };
    listener.set_nonblocking(true).context("preparing the HTTP server")?;
    let at = listener.local_addr().context("preparing the HTTP server")?;
    let tls = match &plan.tls {
        Some((cert, key)) => Some(TlsAcceptor::from(tls::config(cert, key)?)),
        None => None,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let site = Arc::new(Site::new(state, evidence, plan.token.as_deref()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("preparing the HTTP server")?;
    let run = move || {
        if let Err(error) = runtime.block_on(accept(listener, tls, site)) {
            warn!("the HTTP server has ended: {error}");
        }
    };
    thread::Builder::new().name("api".to_owned()).spawn(run).context("starting the HTTP server")?;
    complain(&format!("metrics and API on {scheme}://{at}"));
    Ok(())
}

async fn accept(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    site: Arc<Site>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!("accepting a connection failed: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            debug!("too many connections: {peer} is sent away");
            continue;
        };
        let (site, tls) = (Arc::clone(&site), tls.clone());
        tokio::spawn(async move {
            let talk = async {
                match tls {
                    None => talk(stream, site, peer).await,
                    Some(tls) => match timeout(PATIENCE, tls.accept(stream)).await {
                        Ok(Ok(stream)) => talk(stream, site, peer).await,
                        Ok(Err(error)) => debug!("TLS with {peer} failed: {error}"),
                        Err(_) => debug!("TLS with {peer} took too long"),
                    },
                }
            };
            if timeout(CONNECTION, talk).await.is_err() {
                debug!("{peer} took too long");
            }
            drop(place);
        });
    }
}

/// Answers the requests of one connection.
async fn talk<S>(stream: S, site: Arc<Site>, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(|request| {
        let answer = site.answer(&request);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        debug!("talking with {peer} failed: {error}");
    }
}
