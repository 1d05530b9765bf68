//! Nothing is wrong: browsers behind HAProxy keep their connections, services close in order.

use std::time::Duration;

use anyhow::ensure;

use super::{BACK, CLIENT, Case, FRONT, PROXY, Pace, Played, SERVER, WEB, configuration};
use crate::lab::haproxy::{HaProxy, Reload};
use crate::lab::http::{self, Browser};
use crate::lab::load::{self, Load, Service};
use crate::lab::network::Network;

pub const CASE: Case = Case {
    name: "quiet",
    about: "healthy traffic: keep-alive through HAProxy, ordinary closes by either side",
    topology: WEB,
    sensor: &[],
    play,
};

/// A service that is asked directly, and closes first.
const DIRECT: ([u8; 4], u16) = (BACK.0, 9000);

fn play(network: &Network, pace: Pace) -> anyhow::Result<Played> {
    let mut played = Played::default();
    let _server = Service::start(network, SERVER, BACK, 16, http::serve)?;
    let _direct = Service::start(network, SERVER, DIRECT, 8, load::answer_and_close)?;
    let _proxy = HaProxy::start(network, PROXY, &configuration("http", "", ""), Reload::Hitless)?;
    let visits = if pace == Pace::Short { 4 } else { 40 };
    let browser = Browser { host: CLIENT, to: FRONT, rate: 100, lasting: Duration::from_secs(3) };
    let direct = Load {
        host: CLIENT,
        from: &[],
        to: DIRECT,
        rate: 20,
        lasting: browser.lasting * visits,
        exchange: load::ask_and_wait,
    };
    let (files, failed, tally) = std::thread::scope(|scope| {
        let others = scope.spawn(|| direct.run(network));
        let (mut files, mut failed) = (0, 0);
        for _ in 0..visits {
            let visit = browser.run(network)?;
            files += visit.files;
            failed += visit.failed.0;
        }
        let tally = others.join().unwrap_or_else(|_| anyhow::bail!("the load panicked"))?;
        anyhow::Ok((files, failed, tally))
    })?;
    played.say(format!(
        "{files} files through HAProxy on {visits} connections, {failed} not got; {} connections to \
         the server itself, {} failed, {} slow",
        tally.done,
        tally.failures(),
        tally.slow
    ));
    ensure!(failed == 0 && tally.failures() == 0, "{played:?}");
    Ok(played)
}
