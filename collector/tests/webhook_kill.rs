//! 10 000 alerts and more (5 000 groups, each firing and resolved, most got worse between) over a TLS
//! server that fails in every way (refuses, wrong certificate, broken handshake, hangs, errors, cut and
//! slow answers), with the sensor killed (kill -9) at twenty random moments. It reads a generated
//! capture of 5 000 collisions; whatever was in the spool when it was killed must arrive without that
//! capture being read again, with the end of what stood; and in the end all of it, in order, signed, and
//! each duplicate with its id.
#![cfg(feature = "webhook")]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::hook::{
    Request, Server, WRONG_DOORS, failing_answers, failing_doors, message_ids, verify,
};
use common::tls::Authority;
use common::{collision, pcap, peak_kb, xdpwatch};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const KILLS: usize = 20;
const SERVICES: u32 = 100;
const POOLS: u32 = 50;

/// Most of the resident memory that the sensor may take, of which the tables are 20 MB.
const MEMORY_MAX_KB: u64 = 300_000;

/// One collision of each of `POOLS` networks with each of `SERVICES` servers, within a minute.
fn crowd() -> Vec<u8> {
    let mut frames = Vec::new();
    for service in 0..SERVICES {
        for pool in 0..POOLS {
            let client = (0x0a00_0001 + (pool << 8), 40_000);
            let start_ns =
                1_700_000_000_000_000_000 + u64::from(service * POOLS + pool) * 6_000_000;
            frames.extend(collision(client, (0xac10_0001 + service, 80), start_ns));
        }
    }
    frames.sort_by_key(|(at_ns, _)| *at_ns);
    pcap(&frames, true, false, 1)
}

/// What a sensor needs besides its capture, in one folder.
fn sensor(capture: &Path, url: &str, dir: &Path) -> Child {
    xdpwatch()
        .args(["--max-tuples", "200000", "--webhook-retry", "10ms", "--webhook-timeout", "250ms"])
        .args(["--webhook-wait", "10m", "--webhook", url])
        .arg("-r")
        .arg(capture)
        .arg("--spool-dir")
        .arg(dir.join("spool"))
        .arg("--webhook-secret-file")
        .arg(dir.join("secret"))
        .arg("--webhook-ca-file")
        .arg(dir.join("ca.pem"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The ids of the messages that wait in the one hook's spool.
fn spooled(spool: &Path) -> BTreeSet<String> {
    let Ok(hooks) = fs::read_dir(spool) else { return BTreeSet::new() };
    let files = hooks.flat_map(|hook| fs::read_dir(hook.unwrap().path()).unwrap());
    files
        .filter_map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            Some(name.strip_suffix(".json")?.rsplit('.').next()?.to_owned())
        })
        .collect()
}

/// Waits for its end; the most memory it was seen to take, in kB.
fn finish(mut sensor: Child) -> u64 {
    let mut most_kb = 0;
    let code = loop {
        if let Some(code) = sensor.try_wait().unwrap() {
            break code;
        }
        most_kb = most_kb.max(peak_kb(sensor.id()));
        thread::sleep(Duration::from_millis(50));
    };
    assert!(code.success(), "all was delivered: {code}");
    most_kb
}

#[test]
fn killed_at_random_moments_no_alert_is_lost() {
    let moments = RandomState::new();
    let authority = Authority::new();
    let server = Server::start_tls(&authority, failing_doors, failing_answers(100));
    let url = format!("https://127.0.0.1:{}/hook", server.port);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("crowd.pcap"), crowd()).unwrap();
    fs::write(path("empty.pcap"), pcap(&[], true, false, 1)).unwrap();
    fs::write(path("secret"), SECRET).unwrap();
    fs::write(path("ca.pem"), &authority.pem).unwrap();
    let spool = path("spool");
    let start = |capture: &str| sensor(&path(capture), &url, dir.path());

    let began = Instant::now();
    let mut owed = BTreeSet::new();
    for n in 0..KILLS {
        let mut sensor = start("crowd.pcap");
        thread::sleep(Duration::from_millis(50 + moments.hash_one(n) % 2000));
        sensor.kill().unwrap();
        sensor.wait().unwrap();
        owed.extend(spooled(&spool));
    }
    assert!(owed.len() > 100, "the kills came too early to show anything: {}", owed.len());

    // What was spooled arrives although nothing makes it anew, and what stood is ended.
    finish(start("empty.pcap"));
    assert_eq!(spooled(&spool), BTreeSet::new());
    let taken = server.taken();
    assert_eq!(owed.difference(&message_ids(&taken)).count(), 0, "of {} spooled ones", owed.len());
    let ended = assert_all_ended(&taken);
    assert!(ended > 0, "none stood when the sensor was killed: nothing is shown");

    // And in the end everything does.
    let memory_kb = finish(start("crowd.pcap"));
    let (requests, taken) = (server.requests(), server.taken());
    assert_complete_and_in_order(&taken);
    assert_eq!(verify(&requests, SECRET), requests.len());
    assert!(memory_kb < MEMORY_MAX_KB, "{memory_kb} kB");
    let doors = WRONG_DOORS.map(|door| (door, server.doors(door)));
    assert!(doors.iter().all(|(_, count)| *count > 2), "{doors:?}: not all were met");
    println!(
        "{} spooled at kills; {ended} ended after a restart; {} requests, {} taken, {} of them \
         different; {doors:?}; {memory_kb} kB; {:.0} s",
        owed.len(),
        requests.len(),
        taken.len(),
        message_ids(&taken).len(),
        began.elapsed().as_secs_f64()
    );
}

/// After a run with nothing to read no group stands; how many of them that run had to end.
fn assert_all_ended(taken: &[Request]) -> usize {
    let mut last: HashMap<String, (bool, bool)> = HashMap::new();
    for request in taken {
        let alert = &request.event()["alert"];
        let state = (alert["state"] == "resolved", alert["until"] == "restart");
        last.insert(alert["id"].as_str().unwrap().to_owned(), state);
    }
    assert!(last.values().all(|(resolved, _)| *resolved), "some stand for ever");
    last.values().filter(|(_, by_restart)| *by_restart).count()
}

/// Every group has each of its revisions from the first to the end (one that got worse has a third
/// between them), and its end never came before its beginning.
fn assert_complete_and_in_order(taken: &[Request]) {
    let mut bodies: HashMap<String, &str> = HashMap::new();
    let mut groups: BTreeMap<String, Vec<(u64, bool)>> = BTreeMap::new();
    let mut restarts = BTreeSet::new();
    for request in taken {
        let known = bodies.entry(request.header("webhook-id").to_owned()).or_insert(&request.body);
        assert_eq!(*known, request.body, "one id, one message");
        let alert = &request.event()["alert"];
        if alert["until"] == "restart" {
            assert!(groups.contains_key(alert["id"].as_str().unwrap()), "never its end first");
            restarts.insert(request.header("webhook-id").to_owned());
            continue;
        }
        let revision = alert["group"]["revision"].as_u64().unwrap();
        let told = groups.entry(alert["id"].as_str().unwrap().to_owned()).or_default();
        told.push((revision, alert["state"] == "resolved"));
    }
    assert_eq!(groups.len() as u32, SERVICES * POOLS);
    for (id, told) in &groups {
        assert_eq!(told[0], (1, false), "{id}: never its end first");
        let revisions: BTreeSet<_> = told.iter().copied().collect();
        let last = revisions.len() as u64;
        assert!((2..=3).contains(&last), "{id}: {revisions:?}");
        let expected = (1..=last).map(|revision| (revision, revision == last));
        assert!(revisions.iter().copied().eq(expected), "{id}: {revisions:?}");
    }
    let messages: usize =
        groups.values().map(|told| told.iter().collect::<BTreeSet<_>>().len()).sum();
    assert_eq!(bodies.len(), messages + restarts.len(), "one message, one id");
}
