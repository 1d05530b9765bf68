//! A plain HTTP client, and a sensor that reads from a pipe for as long as a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use super::{Timed, pcap, xdpwatch};

/// An answer: status, head, body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// Sends a request as it stands, and reads until the other end closes.
pub fn raw(at: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// A request with these further header lines.
pub fn request(at: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    let answer = raw(at, text.as_bytes()).expect("the server answers");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

/// GET.
pub fn get(at: SocketAddr, path: &str) -> Answer {
    request(at, "GET", path, "")
}

/// A sensor that reads frames from a pipe and serves; killed on drop.
pub struct Serving {
    child: Child,
    input: ChildStdin,
    pub at: SocketAddr,
}

impl Serving {
    /// With these frames, and more arguments.
    pub fn start(frames: &[Timed], args: &[&str], token: Option<&str>) -> Self {
        let mut command = xdpwatch();
        command.args(["-r", "-", "--batch", "1", "--max-tuples", "4096"]);
        command.args(["--listen", "127.0.0.1:0"]).args(args);
        command.env_remove("XDPWATCH_TOKEN");
        if let Some(token) = token {
            command.env("XDPWATCH_TOKEN", token);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut input = child.stdin.take().expect("a pipe");
        let errors = child.stderr.take().expect("a pipe");
        let mut line = String::new();
        BufReader::new(errors).read_line(&mut line).expect("a readable pipe");
        let at = line.trim().rsplit('/').next().and_then(|at| at.parse().ok());
        let at = at.unwrap_or_else(|| panic!("no address: {line}"));
        input.write_all(&pcap(frames, true, false, 1)).expect("it reads");
        input.flush().expect("it reads");
        Self { child, input, at }
    }

    /// Sends it more of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).expect("it reads");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
