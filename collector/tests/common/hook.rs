//! A web server of the tests' own, which answers well or in every wrong way; and what a receiver of
//! Standard Webhooks checks, done by Python's own hmac.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::tls::Authority;

/// How a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With this status, these further header lines, this body.
    Status(u16, &'static str, &'static str),
    /// Never; the connection stays open.
    Hang,
    /// The connection is closed before the answer.
    Close,
    /// The connection is closed in the middle of the answer.
    CloseHalfway,
    /// A byte at a time, too slowly.
    SlowBytes,
    /// With bytes that are not HTTP.
    Garbage,
}

pub const GOOD: Answer = Answer::Status(200, "", "fine");

/// One request in so many goes wrong, in any way.
pub fn failing_answers(one_in: usize) -> impl Fn(usize) -> Answer {
    const WRONG: [Answer; 8] = [
        Answer::Status(500, "", ""),
        Answer::Status(503, "", ""),
        Answer::Status(429, "retry-after: 0\r\n", ""),
        Answer::Close,
        Answer::CloseHalfway,
        Answer::Hang,
        Answer::SlowBytes,
        Answer::Garbage,
    ];
    let random = RandomState::new();
    move |n| {
        let dice = random.hash_one(n) as usize;
        let goes_wrong = dice.is_multiple_of(one_in);
        if goes_wrong { WRONG[dice / one_in % WRONG.len()].clone() } else { GOOD }
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// What it was answered with.
    pub answer: Answer,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// The messages that these carry: duplicates count once.
pub fn message_ids(requests: &[Request]) -> BTreeSet<String> {
    requests.iter().map(|request| request.header("webhook-id").to_owned()).collect()
}

/// The server; it lives as long as the test.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    doors: Arc<Mutex<Vec<Door>>>,
}

/// How a server takes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// As a good one does.
    Open,
    /// With a certificate that nobody trusts.
    WrongCertificate,
    /// It closes in the middle of the handshake.
    BrokenHandshake,
    /// And then refuses all others for a moment.
    Shut,
}

/// The ways in which a connection is not taken well.
pub const WRONG_DOORS: [Door; 3] = [Door::WrongCertificate, Door::BrokenHandshake, Door::Shut];

/// One connection in eight is not taken well. Most failures end one, so there are many.
pub fn failing_doors(n: usize) -> Door {
    match n % 24 {
        3 => Door::WrongCertificate,
        7 => Door::BrokenHandshake,
        11 => Door::Shut,
        _ => Door::Open,
    }
}

/// What is read and written of a connection.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Server {
    /// Serves on a free port; `answer` is asked with the number of the request, from 0.
    pub fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    pub fn on(
        listener: TcpListener,
        answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                thread::spawn(move || serve(stream.unwrap(), &kept, &*answer));
            }
        });
        Self { port, requests, doors: Arc::default() }
    }

    /// Serves over TLS with a certificate by `trusted`; `door` is asked with the number of the
    /// connection, from 0, how it is taken.
    pub fn start_tls(
        trusted: &Authority,
        door: impl Fn(usize) -> Door + Send + 'static,
        answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { port: address.port(), requests: Arc::default(), doors: Arc::default() };
        let (requests, doors) = (Arc::clone(&server.requests), Arc::clone(&server.doors));
        let (good, wrong) = (trusted.server(), Authority::new().server());
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for n in 0.. {
                let (stream, _) = listener.accept().unwrap();
                let door = door(n);
                doors.lock().unwrap().push(door);
                let config = if door == Door::WrongCertificate { &wrong } else { &good };
                let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
                thread::spawn(move || {
                    if door == Door::BrokenHandshake {
                        let _ = (&stream).read(&mut [0; 16]);
                        let _ = (&stream).write_all(&[22, 3, 3, 0, 100]);
                        return;
                    }
                    serve(StreamOwned::new(connection, stream), &requests, &*answer);
                });
                if door == Door::Shut {
                    drop(listener);
                    thread::sleep(Duration::from_millis(100));
                    listener = TcpListener::bind(address).unwrap();
                }
            }
        });
        server
    }

    /// How often connections were taken in this way.
    pub fn doors(&self, which: Door) -> usize {
        self.doors.lock().unwrap().iter().filter(|door| **door == which).count()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests that were answered well.
    pub fn taken(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.answer == GOOD).collect()
    }

    pub fn wait_for(&self, what: &str, is: impl Fn(&[Request]) -> bool) {
        let began = Instant::now();
        while !is(&self.requests.lock().unwrap()) {
            assert!(began.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn serve(
    stream: impl Stream,
    kept: &Mutex<Vec<Request>>,
    answer: &(impl Fn(usize) -> Answer + ?Sized),
) {
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = read_request(&mut reader) {
        let given = {
            let mut kept = kept.lock().unwrap();
            request.answer = answer(kept.len());
            kept.push(request.clone());
            request.answer
        };
        if !give(reader.get_mut(), &given) {
            return;
        }
    }
}

/// Reads a request; none at the end, or where the client was killed.
pub fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    let mut lines = Vec::new();
    while reader.read_line(&mut line).ok()? > 0 && !line.trim_end().is_empty() {
        lines.push(std::mem::take(&mut line).trim_end().to_owned());
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<_> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Request { at: Instant::now(), path, headers, body, answer: GOOD })
}

/// Answers; true if the connection goes on.
fn give(stream: &mut impl Stream, answer: &Answer) -> bool {
    match answer {
        Answer::Status(status, headers, body) => {
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n{headers}\r\n");
            return stream.write_all([head.as_str(), *body].concat().as_bytes()).is_ok();
        }
        Answer::Hang => thread::sleep(Duration::from_secs(3)),
        Answer::Close => {}
        Answer::CloseHalfway => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of");
        }
        Answer::SlowBytes => {
            for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" {
                if stream.write_all(&[*byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
        Answer::Garbage => {
            let _ = stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n");
        }
    }
    false
}

const VERIFY: &str = r"
import base64, hashlib, hmac, json, sys
key = base64.b64decode(sys.argv[1].removeprefix('whsec_'))
count = 0
for line in sys.stdin:
    request = json.loads(line)
    signed = f'{request[0]}.{request[1]}.{request[3]}'.encode()
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request[2] == 'v1,' + expected, request
    count += 1
print(count)
";

/// Has Python verify every request's signature; how many it verified.
pub fn verify(requests: &[Request], secret: &str) -> usize {
    let mut python = Command::new("python3")
        .args(["-c", VERIFY, secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there (tools/setup --test)");
    let mut stdin = python.stdin.take().unwrap();
    for request in requests {
        let header = |name| request.header(name);
        let line = json!([
            header("webhook-id"),
            header("webhook-timestamp"),
            header("webhook-signature"),
            request.body
        ]);
        writeln!(stdin, "{line}").expect("python3 reads on: its complaint is above");
    }
    drop(stdin);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "a signature is wrong");
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}
