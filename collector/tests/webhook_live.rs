//! A live sensor that is killed (kill -9) at random moments while collisions go on arriving and its TLS
//! server fails in every way: whatever it said on standard output before arrives, signed, and each
//! duplicate with its id; what stood at a kill is ended by the next life. Short unless XDPWATCH_LONG is
//! set: then 10 000 alerts and 20 kills. Needs root; says so without.
#![cfg(all(feature = "xdp", feature = "webhook"))]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::hook::{
    GOOD, Request, Server, WRONG_DOORS, failing_answers, failing_doors, message_ids, verify,
};
use common::net::{Net, Sender, can_run, program_exists, send_signal};
use common::tls::Authority;
use common::{ACK, RST, SYN, Segment, collision, peak_kb};
use serde_json::Value;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Collisions with each server, of a source network each: every one is a group, and so an alert, of its
/// own.
const POOLS: u32 = 50;

/// Frames of a collision up to the answer that refuses the SYN.
const REFUSED: usize = 8;

/// Most of the resident memory that the sensor may take: tables and rings, and what waits for a slow disk.
const MEMORY_MAX_KB: u64 = 400_000;

/// How much of it there is.
struct Scale {
    kills: usize,
    /// Alerts that must have been said by the end.
    alerts: usize,
    /// The longest life before the last, milliseconds.
    life_ms: u64,
    /// Collisions a second.
    rate: u32,
    /// One request in so many goes wrong.
    wrong_in: usize,
    /// How long deliveries may take in the end.
    patience: Duration,
}

fn scale() -> Scale {
    let secs = Duration::from_secs;
    if std::env::var_os("XDPWATCH_LONG").is_some() {
        let (kills, alerts, life_ms, rate, wrong_in) = (20, 10_000, 2500, 400, 100);
        return Scale { kills, alerts, life_ms, rate, wrong_in, patience: secs(240) };
    }
    Scale { kills: 4, alerts: 200, life_ms: 600, rate: 200, wrong_in: 30, patience: secs(60) }
}

/// The n-th collision up to its refusal, and what its client does then: it gets through, or gives up.
fn frames(n: u32) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (client, server) =
        ((0x0a00_0001 + ((n % POOLS) << 8), 40_000), (0xac10_0001 + n / POOLS, 80));
    let mut refused: Vec<_> = collision(client, server, 0).into_iter().map(|(_, f)| f).collect();
    refused.truncate(REFUSED);
    let there = |seq, ack, flags| Segment {
        src: client,
        dst: server,
        seq,
        ack,
        flags,
        ts_val: 2100,
        ts_ecr: 0,
    };
    let back = |seq, ack, flags| Segment { src: server, dst: client, ..there(seq, ack, flags) };
    let through = [
        there(102, 0, RST),
        there(50_000, 0, SYN),
        back(7000, 50_001, SYN | ACK),
        there(50_001, 7001, ACK),
    ];
    let through = through.iter().map(Segment::frame);
    (refused, if n.is_multiple_of(2) { through.collect() } else { Vec::new() })
}

/// Sends collisions until it is over; how many.
fn traffic(rate: u32, over: &AtomicBool) -> u32 {
    const TICK: Duration = Duration::from_millis(50);
    let sender = Sender::open("tx0");
    let send = |frames: &[Vec<u8>]| frames.iter().for_each(|frame| sender.send(frame));
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let round: Vec<_> = (sent..sent + rate / 20).map(frames).collect();
        sent += rate / 20;
        round.iter().for_each(|(refused, _)| send(refused));
        thread::sleep(TICK);
        round.iter().for_each(|(_, through)| send(through));
    }
    sent
}

/// A sensor from its start to its kill.
struct Life {
    child: Child,
    program: u32,
    lines: JoinHandle<()>,
}

impl Life {
    fn start(net: &Net, url: &str, dir: &Path, said: &Arc<Said>) -> Self {
        let path = |name: &str| dir.join(name).to_str().expect("a plain path").to_owned();
        let mut command = net.xdpwatch(&["-i", "rx0", "--json", "--listen", "off"]);
        command
            .args(["--user", "root", "--max-tuples", "100000"])
            .args(["--group-quiet", "1s", "--group-interval", "1s"])
            .args(["--webhook", url, "--webhook-retry", "10ms", "--webhook-timeout", "250ms"])
            .args(["--webhook-secret-file", &path("secret"), "--webhook-ca-file", &path("ca.pem")])
            .args(["--spool-dir", &path("spool")]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let out = child.stdout.take().unwrap();
        let said = Arc::clone(said);
        let lines = thread::spawn(move || note(out, &said));
        let deadline = Instant::now() + Duration::from_secs(20);
        let program = loop {
            if let Some(program) = net.program() {
                break program;
            }
            assert!(Instant::now() < deadline, "not attached");
            thread::sleep(Duration::from_millis(5));
        };
        Self { child, program, lines }
    }

    /// Kills it; the most memory it took. Nothing of it is left, and all that it said is noted.
    fn kill(mut self, net: &Net) -> u64 {
        let memory_kb = peak_kb(self.child.id());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        while net.is_attached() || net.promiscuity() != 0 || program_exists(self.program) {
            assert!(Instant::now() < deadline, "something of the killed sensor is left");
            thread::sleep(Duration::from_millis(5));
        }
        self.lines.join().unwrap();
        memory_kb
    }

    /// Asks it to end, as a service manager does; the most memory it took.
    fn end(mut self) -> u64 {
        let memory_kb = peak_kb(self.child.id());
        send_signal(self.child.id(), libc::SIGTERM);
        let code = self.child.wait().unwrap();
        assert!(code.success(), "{code}");
        self.lines.join().unwrap();
        memory_kb
    }
}

/// Ids of the groups that lines on standard output tell of.
type Said = Mutex<BTreeSet<String>>;

/// Notes what whole lines tell of, up to the sensor's end.
fn note(out: ChildStdout, said: &Said) {
    let (mut out, mut line) = (BufReader::new(out), String::new());
    while out.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        let event: Value = serde_json::from_str(&line).expect("JSON");
        if let Some(id) = event["alert"]["group"]["id"].as_str() {
            said.lock().unwrap().insert(id.to_owned());
        }
        line.clear();
    }
}

/// What the server was told of an alert.
#[derive(Debug, Default)]
struct Told {
    /// Whether the last word on it is its end.
    is_over: bool,
    /// Whether that came because the sensor was killed.
    by_restart: bool,
}

/// What came of each alert, by its id. No end comes before its beginning, and what has one id is one
/// message.
fn told(taken: &[Request]) -> BTreeMap<String, Told> {
    let mut bodies: HashMap<&str, &str> = HashMap::new();
    let mut told = BTreeMap::new();
    for request in taken {
        let known = bodies.entry(request.header("webhook-id")).or_insert(&request.body);
        assert_eq!(*known, request.body, "one id, one message");
        let alert = &request.event()["alert"];
        let id = alert["id"].as_str().unwrap();
        let is_over = alert["state"] == "resolved";
        assert!(!is_over || told.contains_key(id), "{id}: its end first");
        let by_restart = alert["until"] == "restart";
        told.insert(id.to_owned(), Told { is_over, by_restart });
    }
    told
}

#[test]
fn a_live_sensor_killed_at_random_moments_loses_no_alert_that_it_said() {
    if !can_run("a_live_sensor_killed_at_random_moments_loses_no_alert_that_it_said") {
        return;
    }
    let scale = scale();
    let began = Instant::now();
    let net = Net::new(2);
    let authority = Authority::new();
    // Connections are few: every other one of the doors is enough to meet each wrong one.
    let server = net.inside(|| {
        Server::start_tls(&authority, |n| failing_doors(2 * n + 1), failing_answers(scale.wrong_in))
    });
    let url = format!("https://127.0.0.1:{}/hook", server.port);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), SECRET).unwrap();
    fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    let said = Arc::new(Said::default());
    let start = || Life::start(&net, &url, dir.path(), &said);
    let count = || said.lock().unwrap().len();

    let (over, collisions) = (AtomicBool::new(false), AtomicU32::new(0));
    let (mut memory_kb, mut at_kills) = (0, 0);
    let last = thread::scope(|scope| {
        scope.spawn(|| {
            let sent = net.inside(|| traffic(scale.rate, &over));
            collisions.store(sent, Ordering::Relaxed);
        });
        let lives = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let moments = RandomState::new();
            for n in 0..scale.kills {
                let life = start();
                thread::sleep(Duration::from_millis(moments.hash_one(n) % scale.life_ms));
                memory_kb = memory_kb.max(life.kill(&net));
            }
            at_kills = count();
            let (life, deadline) = (start(), Instant::now() + scale.patience);
            // Some of them in this life, whose ends no restart told.
            while count() < scale.alerts.max(at_kills + scale.alerts / 10) {
                assert!(Instant::now() < deadline, "only {} alerts are said", count());
                thread::sleep(Duration::from_millis(50));
            }
            life
        }));
        over.store(true, Ordering::Relaxed);
        lives.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });

    // Traffic is over: everything has been said, and ends.
    let deadline = Instant::now() + scale.patience;
    while Instant::now() < deadline {
        let told = told(&server.taken());
        let is_all = said.lock().unwrap().iter().all(|id| told.contains_key(id));
        if is_all && told.values().all(|told| told.is_over) {
            break;
        }
        thread::sleep(Duration::from_millis(500));
    }
    memory_kb = memory_kb.max(last.end());

    let (requests, taken, said) = (server.requests(), server.taken(), said.lock().unwrap());
    let told = told(&taken);
    let lost: Vec<_> = said.iter().filter(|id| !told.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} of {} alerts that were said are lost", lost.len(), said.len());
    assert!(told.values().all(|told| told.is_over), "some stand for ever");
    let by_restart = told.values().filter(|told| told.by_restart).count();
    assert!(by_restart > 0 && by_restart < told.len(), "{by_restart} of {}", told.len());
    assert_eq!(verify(&requests, SECRET), requests.len());
    assert!(memory_kb > 0 && memory_kb < MEMORY_MAX_KB, "{memory_kb} kB");
    let wrong = requests.iter().filter(|request| request.answer != GOOD).count();
    let doors = WRONG_DOORS.map(|door| (door, server.doors(door)));
    assert!(wrong > 0 && doors.iter().all(|(_, count)| *count > 0), "{wrong}, {doors:?}");
    let _ = writeln!(
        std::io::stderr(),
        "{} kills while {} collisions arrived: {at_kills} alerts said before, {} in all, all of them \
         told; {by_restart} ended by a restart; {} requests, {wrong} answered wrong, {doors:?}; {} \
         taken, {} of them different; {memory_kb} kB; {:.0} s",
        scale.kills,
        collisions.load(Ordering::Relaxed),
        said.len(),
        requests.len(),
        taken.len(),
        message_ids(&taken).len(),
        began.elapsed().as_secs_f64()
    );
}
