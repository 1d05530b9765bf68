//! Network namespaces with a veth pair for live tests, a raw sender in them, and the sensor as a
//! child process. Everything is named after this process and removed on drop.
#![expect(unsafe_code, reason = "setns and AF_PACKET have no safe form in std; see each block")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::size_of;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Whether network namespaces can be made here; if not, says loudly that `test` is skipped.
pub fn can_run(test: &str) -> bool {
    // SAFETY: no arguments, no memory involved.
    let is_root = unsafe { libc::geteuid() } == 0;
    let reason = if !is_root {
        "it needs root"
    } else if Command::new("ip").arg("-V").output().is_err() {
        "it needs the `ip` command (iproute2)"
    } else {
        return true;
    };
    // Not println: the harness hides that of tests that pass.
    let _ = writeln!(io::stderr(), "SKIPPED: {test}: {reason}");
    false
}

static NAMESPACES: AtomicU32 = AtomicU32::new(0);

/// A namespace with the veth pair `rx0` (captured on) and `tx0` (sent from).
pub struct Net {
    pub name: String,
}

impl Net {
    pub fn new(queues: u32) -> Self {
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let net = Self { name: format!("xwt{}n{number}", std::process::id()) };
        ip(&["netns", "add", &net.name]);
        net.ip(&["link", "set", "lo", "up"]);
        net.add_pair("rx0", "tx0", queues);
        net
    }

    /// A namespace with a second pair, `rx1` and `tx1`.
    pub fn with_two_pairs(queues: u32) -> Self {
        let net = Self::new(queues);
        net.add_pair("rx1", "tx1", queues);
        net
    }

    /// Adds a veth pair and sets it up.
    pub fn add_pair(&self, rx: &str, tx: &str, queues: u32) {
        let queues = queues.to_string();
        let sizes = ["numrxqueues", &queues, "numtxqueues", &queues];
        let mut add = vec!["link", "add", rx];
        add.extend(sizes);
        add.extend(["type", "veth", "peer", "name", tx]);
        add.extend(sizes);
        self.ip(&add);
        self.ip(&["link", "set", rx, "up"]);
        self.ip(&["link", "set", tx, "up"]);
    }

    /// `ip` in the namespace; its output.
    pub fn ip(&self, args: &[&str]) -> String {
        ip(&[&["-n", &self.name], args].concat())
    }

    /// A command that runs in the namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// The sensor in the namespace.
    pub fn xdpwatch(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_xdpwatch"));
        command.args(["--sensor", "test"]).args(args);
        command
    }

    /// Runs the sensor to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.xdpwatch(args).output().expect("the binary starts")
    }

    /// Starts the sensor on `rx0` and returns once its program is attached.
    pub fn start(&self, args: &[&str]) -> Sensor {
        self.launch(&mut self.xdpwatch(args))
    }

    /// Starts this command, which runs the sensor, and returns once its program is attached.
    pub fn launch(&self, command: &mut Command) -> Sensor {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut sensor = Sensor { child: Some(child) };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.is_attached() {
            let ended = sensor.child.as_mut().unwrap().try_wait().unwrap().is_some();
            if ended || Instant::now() > deadline {
                let output = if ended { sensor.wait() } else { sensor.end() };
                panic!("not attached: {}", String::from_utf8_lossy(&output.stderr));
            }
            thread::sleep(Duration::from_millis(5));
        }
        sensor
    }

    /// Whether an XDP program is attached to `rx0`.
    pub fn is_attached(&self) -> bool {
        self.ip(&["-d", "link", "show", "rx0"]).contains("prog/xdp")
    }

    /// The kernel's number of the program attached to `rx0`.
    pub fn program(&self) -> Option<u32> {
        let text = self.ip(&["-d", "link", "show", "rx0"]);
        text.split("prog/xdp id ").nth(1)?.split_whitespace().next()?.parse().ok()
    }

    /// How many want `rx0` promiscuous.
    pub fn promiscuity(&self) -> u32 {
        let text = self.ip(&["-d", "link", "show", "rx0"]);
        let after = text.split("promiscuity ").nth(1).expect("ip tells it");
        after.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Runs `f` in a thread that is in the namespace.
    pub fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        inside(&self.name, f)
    }

    /// Sends frames out of `tx0`, so that they arrive at `rx0`.
    pub fn send(&self, frames: &[Vec<u8>]) {
        self.inside(|| {
            let sender = Sender::open("tx0");
            frames.iter().for_each(|frame| sender.send(frame));
        });
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

pub fn inside<T: Send>(name: &str, f: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(Path::new("/run/netns").join(name)).unwrap();
    thread::scope(|scope| {
        let run = || {
            // SAFETY: the descriptor is a network namespace's; only this thread enters it.
            let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
            f()
        };
        scope.spawn(run).join().expect("what runs inside does not panic")
    })
}

pub fn ip(args: &[&str]) -> String {
    let output = Command::new("ip").args(args).output().expect("ip runs");
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A running sensor; killed if a test fails before it ends.
pub struct Sensor {
    child: Option<Child>,
}

impl Sensor {
    /// Its process number. `ip netns exec` becomes the sensor, so it is the child's.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        // The child has not been waited for, so the pid is still its.
        send_signal(self.pid(), signal);
    }

    /// Asks it to end, and returns what it wrote.
    pub fn end(&mut self) -> Output {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// Waits for its end, and returns what it wrote.
    pub fn wait(&mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }
}

/// Sends a signal to a child that has not been waited for.
pub fn send_signal(pid: u32, signal: i32) {
    // SAFETY: no memory involved.
    let result = unsafe { libc::kill(pid as i32, signal) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

impl Drop for Sensor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An AF_PACKET socket that sends whole frames.
pub struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// Opens it in the calling thread's namespace.
    pub fn open(interface: &str) -> Self {
        // SAFETY: no memory involved.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
        assert!(socket >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let name = std::ffi::CString::new(interface).unwrap();
        // SAFETY: a C string.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: 0,
            sll_ifindex: index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let size = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the address is a sockaddr_ll of that size.
        let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        Self { socket }
    }

    /// Sends one frame; waits while the queue is full.
    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the pointer and length are the slice's.
        let sent =
            unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }
}

/// Two namespaces whose hosts talk to each other over the pair: `rx0` and `tx0` carry addresses.
pub struct Hosts {
    pub net: Net,
    pub peer: String,
}

/// The address of `rx0`.
pub const RX_ADDR: &str = "10.99.0.1";

/// The address of `tx0`.
pub const TX_ADDR: &str = "10.99.0.2";

impl Hosts {
    pub fn new() -> Self {
        let net = Net::new(1);
        let hosts = Self { peer: format!("{}p", net.name), net };
        ip(&["netns", "add", &hosts.peer]);
        hosts.net.ip(&["link", "set", "tx0", "netns", &hosts.peer]);
        hosts.net.ip(&["addr", "add", &format!("{RX_ADDR}/24"), "dev", "rx0"]);
        ip(&["-n", &hosts.peer, "addr", "add", &format!("{TX_ADDR}/24"), "dev", "tx0"]);
        ip(&["-n", &hosts.peer, "link", "set", "tx0", "up"]);
        hosts
    }

    /// Runs `f` in a thread that is in the peer's namespace.
    pub fn in_peer<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        inside(&self.peer, f)
    }

    /// A TCP connection from the peer to `rx0`'s address: something is said, then both close.
    pub fn talk(&self) -> io::Result<()> {
        let listener = self.net.inside(|| TcpListener::bind((RX_ADDR, 0)))?;
        let to = listener.local_addr()?;
        let patience = Duration::from_secs(3);
        let mut client = self.in_peer(|| TcpStream::connect_timeout(&to, patience))?;
        let (mut server, _) = listener.accept()?;
        client.write_all(b"hello")?;
        let mut heard = [0; 5];
        server.set_read_timeout(Some(patience))?;
        server.read_exact(&mut heard)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.peer]).output();
    }
}

/// A folder for a test's files.
pub fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("xwt{}-{name}", std::process::id()))
}

/// What the kernel's `bpf` call takes about links: an id, a file descriptor, or where to write.
#[repr(C, align(8))]
struct BpfAttribute([u32; 32]);

/// Commands of linux/bpf.h.
const PROG_GET_FD_BY_ID: i32 = 13;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const LINK_GET_FD_BY_ID: i32 = 30;
const LINK_GET_NEXT_ID: i32 = 31;
const LINK_DETACH: i32 = 34;

fn bpf(command: i32, attribute: &mut BpfAttribute) -> io::Result<i32> {
    let size = size_of::<BpfAttribute>();
    // SAFETY: the attribute is valid for that size, and so is what it points to, if anything.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Whether the kernel has a program with this number.
pub fn program_exists(program: u32) -> bool {
    let mut about = BpfAttribute([0; 32]);
    about.0[0] = program;
    let Ok(fd) = bpf(PROG_GET_FD_BY_ID, &mut about) else { return false };
    // SAFETY: the descriptor is new and nobody else's.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    true
}

/// Takes off the BPF link that runs the program with this number, as an administrator may.
pub fn detach_by_force(program: u32) {
    let mut id = 0;
    loop {
        let mut next = BpfAttribute([0; 32]);
        next.0[0] = id;
        bpf(LINK_GET_NEXT_ID, &mut next).expect("a link runs the program");
        id = next.0[1];
        let mut about = BpfAttribute([0; 32]);
        about.0[0] = id;
        let Ok(fd) = bpf(LINK_GET_FD_BY_ID, &mut about) else { continue };
        // SAFETY: the descriptor is new and nobody else's.
        let link = unsafe { OwnedFd::from_raw_fd(fd) };
        // Kind, id, and the program's number come first.
        let mut info = [0u32; 64];
        let place = (&raw mut info) as u64;
        let mut about = BpfAttribute([0; 32]);
        about.0[..4].copy_from_slice(&[fd as u32, 256, place as u32, (place >> 32) as u32]);
        bpf(OBJ_GET_INFO_BY_FD, &mut about).expect("a link tells of itself");
        if info[2] == program {
            let mut about = BpfAttribute([0; 32]);
            about.0[0] = link.as_raw_fd() as u32;
            bpf(LINK_DETACH, &mut about).expect("it can be detached");
            return;
        }
    }
}
