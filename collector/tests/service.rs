//! The sensor as a service, live in network namespaces: what the service manager hears, whose rights
//! every thread has, and what the sandbox refuses. Needs root; says so without.
#![cfg(all(feature = "xdp", feature = "webhook", feature = "api"))]
#![expect(unsafe_code, reason = "one call of a number that no library has a function for")]

mod common;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use common::net::{Net, Sender, can_run};
use common::{alerts, collision, stderr, stdout};
use nix::sys::ptrace;
use nix::unistd::Pid;

const CLIENT: (u32, u16) = (0x0a00_0001, 40_000);
const SERVER: (u32, u16) = (0x0a00_0002, 80);

/// NET_ADMIN, NET_RAW, IPC_LOCK, PERFMON, BPF (linux/capability.h).
const FIVE: u64 = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 38 | 1 << 39;

/// A user that every Linux has.
const USER: &str = "nobody";

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(dir: &Path) -> Self {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        // As systemd's own: every user may say something.
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path }
    }

    /// The lines of the messages that come within this time.
    fn hear(&self, time: Duration) -> Vec<String> {
        let until = Instant::now() + time;
        let (mut lines, mut bytes) = (Vec::new(), [0; 4096]);
        while Instant::now() < until {
            match self.socket.recv(&mut bytes) {
                Ok(len) => {
                    let text = std::str::from_utf8(&bytes[..len]).unwrap();
                    lines.extend(text.lines().map(str::to_owned));
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        lines
    }

    /// Waits for a line, and returns those before it.
    #[track_caller]
    fn wait_for(&self, awaited: &str) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(10);
        let mut before = Vec::new();
        while Instant::now() < until {
            before.extend(self.hear(Duration::from_millis(10)));
            if before.iter().any(|line| line == awaited) {
                return before;
            }
        }
        panic!("no {awaited} among {before:?}");
    }
}

fn pings(lines: &[String]) -> usize {
    lines.iter().filter(|line| *line == "WATCHDOG=1").count()
}

/// The thread of this name.
fn thread_of(pid: u32, name: &str) -> Pid {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
    let named = |task: &PathBuf| fs::read_to_string(task.join("comm")).unwrap().trim() == name;
    let task = tasks.into_iter().find(named).unwrap_or_else(|| panic!("no thread {name}"));
    Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap())
}

#[test]
fn the_service_manager_hears_of_readiness_progress_and_the_end() {
    if !can_run("the_service_manager_hears_of_readiness_progress_and_the_end") {
        return;
    }
    let (net, dir) = (Net::new(1), tempfile::tempdir().unwrap());
    let manager = Manager::new(dir.path());
    let mut command = net.xdpwatch(&["-i", "rx0", "--user", USER, "--max-tuples", "4096"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "30000000");
    let mut sensor = net.launch(&mut command);
    let before = manager.wait_for("READY=1");
    let has = |lines: &[String], start: &str| lines.iter().any(|line| line.starts_with(start));
    assert!(has(&before, "STATUS=watching rx0: "), "{before:?}");
    assert!(!before.contains(&"STOPPING=1".to_owned()));
    let lines = manager.hear(Duration::from_millis(3500));
    assert!(pings(&lines) >= 2, "{lines:?}");
    sensor.signal(libc::SIGHUP);
    let lines = manager.wait_for("READY=1");
    assert!(has(&lines, "RELOADING=1") && has(&lines, "MONOTONIC_USEC="), "{lines:?}");
    let worker = thread_of(sensor.pid(), "worker-0");
    ptrace::seize(worker, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(worker).unwrap();
    // It is missed after two seconds, and pings are a second apart.
    let lines = manager.hear(Duration::from_millis(3500));
    assert!(has(&lines, "STATUS=NOT READY: interface rx0: nothing is heard of"), "{lines:?}");
    let lines = manager.hear(Duration::from_millis(2500));
    assert_eq!(pings(&lines), 0, "a worker hangs: {lines:?}");
    ptrace::detach(worker, None).unwrap();
    manager.wait_for("WATCHDOG=1");
    let output = sensor.end();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    manager.wait_for("STOPPING=1");
}

#[test]
fn without_a_watchdog_nobody_is_pinged() {
    if !can_run("without_a_watchdog_nobody_is_pinged") {
        return;
    }
    let (net, dir) = (Net::new(1), tempfile::tempdir().unwrap());
    let manager = Manager::new(dir.path());
    let mut command = net.xdpwatch(&["-i", "rx0", "--max-tuples", "4096"]);
    let mut sensor = net.launch(command.env("NOTIFY_SOCKET", &manager.path));
    manager.wait_for("READY=1");
    assert_eq!(pings(&manager.hear(Duration::from_millis(1500))), 0);
    sensor.end();
}

/// The values of a line in /proc/PID/status.
fn status_line(text: &str, name: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name}: {text}"))
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Checks every thread's user, capabilities and filters; their names.
#[track_caller]
fn assert_confined(pid: u32, uid: u32) -> BTreeSet<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.map(|task| {
        let text = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let of = |name| status_line(&text, name);
        assert_eq!(of("Uid"), vec![uid.to_string(); 4], "{text}");
        assert!(!of("Gid").contains(&"0".to_owned()), "{text}");
        assert!(!of("Groups").contains(&"0".to_owned()), "{text}");
        let set = |name| u64::from_str_radix(&of(name)[0], 16).unwrap();
        assert_eq!((set("CapPrm"), set("CapEff")), (FIVE, FIVE), "{text}");
        assert_eq!((set("CapInh"), set("CapBnd"), set("CapAmb")), (0, 0, 0), "{text}");
        assert_eq!(
            (of("NoNewPrivs").as_slice(), of("Seccomp").as_slice()),
            (&["1".to_owned()][..], &["2".to_owned()][..])
        );
        of("Name").join(" ")
    });
    names.collect()
}

/// A folder that every user may enter, and paths in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

fn send_collision(net: &Net) {
    net.inside(|| {
        let sender = Sender::open("tx0");
        for (_, frame) in collision(CLIENT, SERVER, 0) {
            sender.send(&frame);
            thread::sleep(Duration::from_millis(2));
        }
    });
}

#[test]
fn with_five_capabilities_and_in_a_sandbox_everything_works() {
    if !can_run("with_five_capabilities_and_in_a_sandbox_everything_works") {
        return;
    }
    let (net, folder) = (Net::new(2), Folder::new());
    let listener = net.inside(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let server = common::tls::TlsServer::on(listener);
    fs::write(folder.path("ca.pem"), &server.authority).unwrap();
    let [ca, spool, evidence, headers] =
        ["ca.pem", "state/spool", "evidence", "headers.pcapng"].map(|name| folder.path(name));
    let config = folder.path("xdpwatch.toml");
    fs::write(&config, "").unwrap();
    let mut args = vec!["-i", "rx0", "--json", "--user", USER, "-w", &headers];
    args.extend(["--config", &config]);
    let url = server.url();
    args.extend(["--webhook", &url, "--webhook-ca-file", &ca, "--spool-dir", &spool]);
    args.extend(["--evidence-dir", &evidence, "--stats-interval", "500ms"]);
    let mut sensor = net.start(&args);
    let uid = fs::metadata(&spool).unwrap().uid();
    assert_ne!(uid, 0, "made for the user");
    thread::sleep(Duration::from_millis(200));
    let names = assert_confined(sensor.pid(), uid);
    for name in ["worker-0", "worker-1", "aggregator", "evidence", "write"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    send_collision(&net);
    sensor.signal(libc::SIGUSR1);
    let until = Instant::now() + Duration::from_secs(10);
    while server.bodies.lock().unwrap().is_empty() {
        assert!(Instant::now() < until, "no webhook: {}", stderr(&sensor.end()));
        thread::sleep(Duration::from_millis(20));
    }
    // Another file by now, as editors and package managers leave it.
    fs::write(folder.path("new"), "").unwrap();
    fs::rename(folder.path("new"), &config).unwrap();
    sensor.signal(libc::SIGHUP);
    let ready = net.inside(|| common::http::get(([127, 0, 0, 1], 9435).into(), "/readyz"));
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
    let output = sensor.end();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(alerts(&output).len(), 2, "{}{}", stdout(&output), stderr(&output));
    for occasion in ["asked", "interval", "end"] {
        assert!(stdout(&output).contains(&format!("\"occasion\":\"{occasion}\"")), "{occasion}");
    }
    let said = stderr(&output);
    let rights = "running as nobody with CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON, CAP_IPC_LOCK; \
                  Landlock in force, seccomp in force";
    assert!(said.contains(rights), "{said}");
    assert!(said.contains("reload: the configuration is right"), "{said}");
    let files: Vec<_> = fs::read_dir(&evidence).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    for file in [files[0].to_str().unwrap(), &headers] {
        assert_eq!(alerts(&common::run(&["-r", file, "--json"])).len(), 2, "{file}");
    }
}

#[test]
fn without_perfmon_the_verifier_refuses_and_the_cure_is_named() {
    if !can_run("without_perfmon_the_verifier_refuses_and_the_cure_is_named") {
        return;
    }
    let net = Net::new(1);
    let but_perfmon = "-all,+net_admin,+net_raw,+bpf,+ipc_lock";
    let mut command = net.command("setpriv");
    command.args([format!("--bounding-set={but_perfmon}"), format!("--inh-caps={but_perfmon}")]);
    command.args(["--no-new-privs", env!("CARGO_BIN_EXE_xdpwatch"), "-vv", "-i", "rx0"]);
    let output = command.output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("pointer -= pointer prohibited"), "the kernel's own word: {said}");
    assert!(said.contains("give it") && said.contains("CAP_PERFMON"), "{said}");
}

#[test]
fn a_tap_works_with_the_same_rights() {
    if !can_run("a_tap_works_with_the_same_rights") {
        return;
    }
    let net = Net::new(1);
    let mut sensor = net.start(&["-i", "rx0", "--json", "--user", USER, "--mode", "tap"]);
    send_collision(&net);
    thread::sleep(Duration::from_millis(300));
    let output = sensor.end();
    assert_eq!(alerts(&output).len(), 2, "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn what_the_user_may_not_touch_is_told_with_the_cure() {
    if !can_run("what_the_user_may_not_touch_is_told_with_the_cure") {
        return;
    }
    let (net, folder) = (Net::new(1), Folder::new());
    let [roots, secret] = ["roots", "secret"].map(|name| folder.path(name));
    fs::create_dir(&roots).unwrap();
    fs::write(&secret, "whsec_c2VjcmV0").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let run = |more: &[&str]| net.run(&[&["-i", "rx0", "--user", USER], more].concat());
    let output = run(&["--evidence-dir", &roots]);
    assert_eq!(output.status.code(), Some(1));
    let cure = format!("`chown -R nobody: {roots}`");
    assert!(stderr(&output).contains(&cure), "{}", stderr(&output));
    let spool = folder.path("spool");
    let hook = ["--webhook", "http://127.0.0.1:1/", "--spool-dir", &spool];
    let output = run(&[&hook[..], &["--webhook-secret-file", &secret]].concat());
    assert!(stderr(&output).contains("`chgrp nobody "), "{}", stderr(&output));
    let within = folder.path("roots/headers.pcapng");
    fs::write(&within, "").unwrap();
    let output = run(&["-w", &within]);
    assert!(stderr(&output).contains("may not write to"), "{}", stderr(&output));
    let output = net.run(&["-i", "rx0", "--user", "no-such-user-x"]);
    assert!(stderr(&output).contains("useradd --system"), "{}", stderr(&output));
    assert!(!net.is_attached());
}

#[test]
fn whoever_wants_none_of_it_is_told_what_is_not_in_force() {
    if !can_run("whoever_wants_none_of_it_is_told_what_is_not_in_force") {
        return;
    }
    let net = Net::new(1);
    let mut sensor = net.start(&["-i", "rx0", "--user", "root", "--sandbox", "off"]);
    thread::sleep(Duration::from_millis(200));
    let ready = net.inside(|| common::http::get(([127, 0, 0, 1], 9435).into(), "/readyz"));
    let not = "ready; not in force: Landlock (--sandbox off), seccomp (--sandbox off)\n";
    assert_eq!(ready.text(), not);
    let said = stderr(&sensor.end());
    assert!(
        said.contains(
            "running as root with the capabilities that it was started with; Landlock NOT"
        ),
        "{said}"
    );
}

/// Runs `the_sandboxed` in a process of its own.
fn sandboxed(what: &str, allowed: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_sandboxed", "--nocapture", "--test-threads=1"])
        .env("XDPWATCH_TEST_SANDBOXED", what)
        .env("XDPWATCH_TEST_ALLOWED", allowed)
        .output()
        .unwrap()
}

#[test]
#[ignore = "runs in a process of its own, which it ends"]
fn the_sandboxed() {
    let Some(what) = std::env::var_os("XDPWATCH_TEST_SANDBOXED") else { return };
    let allowed = PathBuf::from(std::env::var_os("XDPWATCH_TEST_ALLOWED").unwrap());
    let mut paths = xdpwatch::service::Paths::default();
    paths.read.extend(["/etc", "/proc"].map(PathBuf::from));
    paths.write.push(allowed.clone());
    let sandbox = xdpwatch::service::Sandbox::enter(&paths).unwrap();
    println!("entered: {sandbox}");
    match what.to_str().unwrap() {
        "files" => {
            let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
            let denied = Err(io::ErrorKind::PermissionDenied);
            assert_eq!(kind(fs::read("/usr/bin/env").map(drop)), denied, "not to be read");
            assert_eq!(kind(fs::write(allowed.with_extension("x"), "x")), denied, "beside it");
            assert_eq!(kind(fs::write("/proc/self/comm", "x")), denied, "only to be read");
            assert_eq!(kind(fs::read("/etc/hostname").map(drop)), Ok(()));
            assert_eq!(kind(fs::write(allowed.join("a"), "x")), Ok(()));
            assert_eq!(kind(fs::rename(allowed.join("a"), allowed.join("b"))), Ok(()));
        }
        "run" => println!("{}", Command::new("/bin/true").exec()),
        "trace" => println!("{:?}", ptrace::traceme()),
        "chroot" => println!("{:?}", std::os::unix::fs::chroot("/")),
        "newer" => {
            // SAFETY: no call has this number, and no memory is handed over.
            let result = unsafe { libc::syscall(1000) };
            let error = io::Error::last_os_error();
            assert_eq!((result, error.raw_os_error()), (-1, Some(libc::ENOSYS)));
        }
        other => panic!("{other}?"),
    }
    println!("lived");
}

#[test]
fn in_the_sandbox_only_its_own_files_can_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let output = sandboxed("files", dir.path());
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("lived"), "{}", stdout(&output));
}

#[test]
fn in_the_sandbox_other_system_calls_end_the_process() {
    let dir = tempfile::tempdir().unwrap();
    for what in ["run", "trace", "chroot"] {
        let output = sandboxed(what, dir.path());
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{what}: {}", stdout(&output));
        let said = stdout(&output);
        assert!(said.contains("entered: ") && !said.contains("lived"), "{what}: {said}");
    }
    // A library that tries what is newer than the list goes on without it.
    let output = sandboxed("newer", dir.path());
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}
