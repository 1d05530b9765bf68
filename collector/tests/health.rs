//! How live capture fares, in network namespaces that the tests make: what the doctor says, what an
//! idle sensor costs, that loss is told and makes findings less sure, how long alerts take, and that
//! no system call is made for each packet. Needs root; says so without.
#![cfg(feature = "xdp")]

mod common;

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::net::{Net, Sender, can_run, send_signal};
use common::{alerts, collision, stderr, stdout};
use serde_json::Value;
use xdpwatch_tools::livegen::{Plan, generate};

const CLIENT: (u32, u16) = (0x0a00_0001, 40_000);
const SERVER: (u32, u16) = (0x0a00_0002, 80);

/// The groups of the last statistics event.
#[track_caller]
fn statistics(output: &Output) -> Value {
    let text = stdout(output);
    let last = text.lines().rfind(|line| line.contains("\"event_type\":\"stats\""));
    let last = last.unwrap_or_else(|| panic!("no statistics: {text}{}", stderr(output)));
    serde_json::from_str::<Value>(last).unwrap()["stats"].clone()
}

fn number(stats: &Value, group: &str, name: &str) -> u64 {
    stats[group][name].as_u64().unwrap_or_else(|| panic!("no {group}.{name} in {stats}"))
}

/// Runs the doctor on `rx0` and gives its lines by topic.
fn doctor(net: &Net, args: &[&str]) -> (Option<i32>, Value) {
    let command = env!("CARGO_BIN_EXE_xdpwatch");
    let args = [&["doctor", "--iface", "rx0", "--json"], args].concat();
    let output = net.command(command).args(args).output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", stdout(&output), stderr(&output)));
    (output.status.code(), report)
}

#[track_caller]
fn line<'a>(report: &'a Value, topic: &str) -> &'a Value {
    let lines = report["lines"].as_array().unwrap();
    lines.iter().find(|line| line["topic"] == topic).unwrap_or_else(|| panic!("{topic}: {report}"))
}

#[test]
fn the_doctor_tells_what_a_veth_pair_is_like() {
    if !can_run("the_doctor_tells_what_a_veth_pair_is_like") {
        return;
    }
    let net = Net::new(2);
    let (status, report) = doctor(&net, &[]);
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!(report["in_iface"], "rx0");
    let driver = line(&report, "driver")["what"].as_str().unwrap();
    assert!(driver.starts_with("veth, no bus"), "{driver}");
    // Native XDP, by the kernel's own word where it has one (Linux 6.3), and no zero copy.
    assert_eq!(line(&report, "xdp")["level"], "ok", "{report:#}");
    assert_eq!(line(&report, "zero_copy")["level"], "warning", "{report:#}");
    assert!(line(&report, "queues")["what"].as_str().unwrap().starts_with("2 receive"));
    for topic in ["use", "kernel", "capabilities", "memlock", "mtu", "rss", "numa"] {
        assert_eq!(line(&report, topic)["level"], "ok", "{report:#}");
    }
    // veth keeps VLAN tags beside the frame, as ethtool's netlink family tells.
    let cure = line(&report, "vlan")["cure"].as_str().unwrap();
    assert_eq!(cure, "`ethtool -K rx0 rxvlan off`");
    let ethtool = net.command("ethtool").args(["-K", "rx0", "rxvlan", "off"]).status();
    assert!(ethtool.unwrap().success());
    let (_, report) = doctor(&net, &[]);
    assert_eq!(line(&report, "vlan")["level"], "ok", "the cure cures: {report:#}");
    // As text, each line with its level.
    let command = env!("CARGO_BIN_EXE_xdpwatch");
    let output = net.command(command).args(["doctor", "-i", "rx0"]).output().unwrap();
    assert!(stdout(&output).contains("ok        driver"), "{}", stdout(&output));
}

#[test]
fn the_doctor_blocks_where_capturing_would_be_refused() {
    if !can_run("the_doctor_blocks_where_capturing_would_be_refused") {
        return;
    }
    let net = Net::new(1);
    net.ip(&["addr", "add", "192.0.2.1/24", "dev", "rx0"]);
    let (status, report) = doctor(&net, &[]);
    assert_eq!((status, &report["level"]), (Some(1), &Value::from("blocking")));
    let used = line(&report, "use");
    assert!(used["what"].as_str().unwrap().contains("192.0.2.1"), "{used}");
    assert!(used["cure"].as_str().unwrap().contains("--mode tap"), "{used}");
    for way_out in [&["--mode", "tap"][..], &["--encap", "vxlan"], &["--consume"]] {
        assert_eq!(doctor(&net, way_out).0, Some(0), "{way_out:?}");
    }
    // Without rights it says which are missing, and still tells the rest.
    let command = env!("CARGO_BIN_EXE_xdpwatch");
    let mut unprivileged = net.command("setpriv");
    unprivileged.args([
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--reuid=65534",
        "--clear-groups",
    ]);
    let output = unprivileged.args([command, "doctor", "-i", "rx0", "--json"]).output().unwrap();
    if output.status.code() == Some(126) || output.status.code() == Some(127) {
        // The build directory may be closed to others.
        let _ = writeln!(io::stderr(), "SKIPPED: the part without rights: {}", stderr(&output));
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lacking = line(&report, "capabilities")["what"].as_str().unwrap();
    for name in ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_PERFMON", "CAP_BPF"] {
        assert!(lacking.contains(name), "{report:#}");
    }
    assert_eq!(line(&report, "driver")["level"], "ok");
}

/// Processor time of a process so far.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every platform that Rust runs on.
    Duration::from_millis(ticks * 10)
}

#[test]
fn an_idle_sensor_costs_less_than_two_percent_of_a_processor() {
    if !can_run("an_idle_sensor_costs_less_than_two_percent_of_a_processor") {
        return;
    }
    let net = Net::new(2);
    let mut sensor = net.start(&["-i", "rx0", "--json", "--max-tuples", "100000"]);
    thread::sleep(Duration::from_millis(500));
    let (pid, began) = (sensor.pid(), Instant::now());
    let before = cpu_time(pid);
    thread::sleep(Duration::from_secs(4));
    let share = (cpu_time(pid) - before).as_secs_f64() / began.elapsed().as_secs_f64();
    sensor.end();
    let _ = writeln!(io::stderr(), "idle: {:.2} % of a processor", share * 100.0);
    assert!(share < 0.02, "{:.2} %", share * 100.0);
}

/// Sends a collision out of `tx0`, slowly enough for its order to be kept.
fn send_collision(net: &Net, client: (u32, u16)) {
    net.inside(|| {
        let sender = Sender::open("tx0");
        for (_, frame) in collision(client, SERVER, 0) {
            sender.send(&frame);
            thread::sleep(Duration::from_millis(2));
        }
    });
}

#[test]
fn alerts_leave_within_milliseconds_even_from_sleeping_workers() {
    if !can_run("alerts_leave_within_milliseconds_even_from_sleeping_workers") {
        return;
    }
    let net = Net::new(2);
    let mut sensor = net.start(&["-i", "rx0", "--json", "--max-tuples", "100000"]);
    for port in 0..20 {
        // Long enough for every thread to fall asleep.
        thread::sleep(Duration::from_millis(100));
        send_collision(&net, (CLIENT.0, CLIENT.1 + port));
    }
    thread::sleep(Duration::from_millis(300));
    let output = sensor.end();
    let stats = statistics(&output);
    let of = |name| number(&stats, "latency", name);
    let _ = writeln!(io::stderr(), "alerts: {}", stats["latency"]);
    // Refusals by several clocks are worth an alert of their own.
    let firing = stdout(&output).lines().filter(|l| l.contains("\"state\":\"firing\"")).count();
    assert!(firing >= 20 && of("alerts") == firing as u64, "{}", stdout(&output));
    assert!(of("p50_us") <= of("p99_us") && of("p99_us") <= of("max_us"));
    assert!(of("p50_us") > 0 && of("p50_us") < 15_000, "{}", stats["latency"]);
    assert!(of("max_us") < 200_000, "{}", stats["latency"]);
}

/// Frames from two processors; every SYN is of a tuple of its own, so that none of them alarms.
fn load(frames: u32, syn_per_mille: u32) -> Plan {
    Plan {
        iface: "tx0".to_owned(),
        cpus: vec![0, 1],
        frames,
        syn_per_mille,
        tuples: 1 << 30,
        payload: 6,
        interval_ns: 0,
    }
}

#[test]
fn loss_is_told_by_place_and_makes_findings_less_sure() {
    if !can_run("loss_is_told_by_place_and_makes_findings_less_sure") {
        return;
    }
    let net = Net::new(2);
    let args = ["-i", "rx0", "--json", "--max-tuples", "1000000", "--ring-size", "64"];
    let mut sensor = net.start(&args);
    send_collision(&net, CLIENT);
    // More SYNs at once than a ring of 64 takes.
    net.inside(|| generate(&load(300_000, 500)).unwrap());
    thread::sleep(Duration::from_millis(600));
    send_collision(&net, (CLIENT.0, CLIENT.1 + 1));
    thread::sleep(Duration::from_millis(300));
    let output = sensor.end();
    let stats = statistics(&output);
    let (capture, loss) =
        (|name| number(&stats, "capture", name), |name| number(&stats, "loss", name));
    assert!(capture("rx_ring_full") > 0, "nothing was lost: {stats}");
    assert_eq!(loss("ring"), capture("rx_ring_full") + capture("rx_dropped"), "{stats}");
    let places = ["nic", "xdp", "ring", "handoff", "table", "aggregator", "reporter"];
    let lost: u64 = places.into_iter().map(loss).sum();
    assert_eq!(loss("rate_ppm"), lost * 1_000_000 / (loss("seen") + loss("nic")), "{stats}");
    assert!(loss("evidence_ppm") > loss("rate_ppm"), "few of those seen were wanted: {stats}");
    let firing: Vec<Value> = alerts(&output)
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["alert"].clone())
        .filter(|alert| alert["state"] == "firing" && alert["signature"] == "tuple_reuse")
        .collect();
    assert_eq!(firing.len(), 2, "{}", stdout(&output));
    let reasons = |alert: &Value| alert["confidence_reasons"].to_string();
    let (clean, lossy) = (firing.first().unwrap(), firing.last().unwrap());
    assert!(!reasons(clean).contains("capture_loss"), "{clean}");
    assert!(reasons(lossy).contains("capture_loss"), "{lossy}");
    let sure = |alert: &Value| alert["confidence"].as_f64().unwrap();
    assert!(sure(lossy) < sure(clean), "{lossy} against {clean}");
}

#[test]
fn received_frames_are_accounted_for_to_the_last_record() {
    if !can_run("received_frames_are_accounted_for_to_the_last_record") {
        return;
    }
    let net = Net::new(2);
    let mut sensor = net.start(&["-i", "rx0", "--json", "--select", "all", "--count", "1000"]);
    net.inside(|| generate(&load(20_000, 500)).unwrap());
    let output = sensor.wait();
    let stats = statistics(&output);
    let of = |name| number(&stats, "capture", name);
    let skipped: u64 = stats["skipped"]
        .as_object()
        .map_or(0, |skipped| skipped.values().filter_map(Value::as_u64).sum());
    let records = number(&stats, "detector", "records");
    let found = of("bad_heads") + skipped + of("beyond_count") + of("handoff_lost") + records;
    assert_eq!(of("received"), found, "{stats}");
    assert_eq!(records, 1000, "{stats}");
    assert!(of("beyond_count") > 0, "{stats}");
}

/// What strace counted: calls by name.
fn parse_summary(text: &str) -> Vec<(String, u64)> {
    // Columns: % time, seconds, usecs/call, calls, errors (may be empty), syscall.
    let row = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let calls = columns.get(3)?.parse().ok()?;
        let name = columns.last().filter(|name| **name != "total")?;
        columns[0].parse::<f64>().ok()?;
        Some(((*name).to_owned(), calls))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn no_system_call_is_made_for_each_packet() {
    if !can_run("no_system_call_is_made_for_each_packet") {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        let _ =
            writeln!(io::stderr(), "SKIPPED: no_system_call_is_made_for_each_packet: no strace");
        return;
    }
    let net = Net::new(2);
    let mut sensor = net.start(&["-i", "rx0", "--json", "--max-tuples", "100000"]);
    let pid = sensor.pid().to_string();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "time-percent,time-total,time-avg,calls,errors,name"]);
    let strace = strace.args(["-p", &pid]).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    thread::sleep(Duration::from_millis(500));
    net.inside(|| generate(&load(1_500_000, 200)).unwrap());
    send_signal(strace.id(), libc::SIGINT);
    let counted = strace.wait_with_output().unwrap();
    let output = sensor.end();
    let text = stderr(&counted);
    let calls = parse_summary(&text);
    let received = number(&statistics(&output), "capture", "received");
    let total: u64 = calls.iter().map(|(_, calls)| calls).sum();
    let _ = writeln!(io::stderr(), "{received} frames received, {total} system calls: {calls:?}");
    assert!(received > 50_000, "too few frames to tell: {received}\n{text}");
    assert!(total > 0, "strace counted nothing: {text}");
    // Ring wake-ups, sleeps and wakings come once for a batch at most.
    let for_batches = [
        "poll",
        "ppoll",
        "recvfrom",
        "futex",
        "read",
        "write",
        "restart_syscall",
        "clock_nanosleep",
        "sched_yield",
    ];
    // All else is for what is shown and looked at several times a second, by five threads.
    let now_and_then = (began.elapsed().as_secs() + 1) * 500;
    for (name, count) in &calls {
        let allowed =
            if for_batches.contains(&name.as_str()) { received / 16 } else { now_and_then };
        assert!(*count < allowed, "{name} is called {count} times for {received} frames\n{text}");
    }
}

/// Names of the sensor's threads, and the processors that each may run on.
fn threads_of(pid: u32) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: std::path::PathBuf| {
        let name = std::fs::read_to_string(task.join("comm")).unwrap();
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        (name.trim().to_owned(), cpus.unwrap().trim().to_owned())
    };
    tasks.map(|task| of(task.unwrap().path())).collect()
}

#[test]
fn workers_are_pinned_and_the_rest_keeps_off_them() {
    if !can_run("workers_are_pinned_and_the_rest_keeps_off_them") {
        return;
    }
    if thread::available_parallelism().unwrap().get() < 2 {
        let _ = writeln!(io::stderr(), "SKIPPED: workers_are_pinned...: one processor");
        return;
    }
    let net = Net::new(1);
    let mut sensor = net.start(&["-i", "rx0", "--max-tuples", "100000", "--cpus", "1"]);
    let threads = threads_of(sensor.pid());
    sensor.end();
    for (name, cpus) in &threads {
        if name == "worker-0" {
            assert_eq!(cpus, "1", "{threads:?}");
        } else {
            assert!(cpus.starts_with('0') && !cpus.starts_with("0-1"), "{threads:?}");
        }
    }
    for name in ["worker-0", "aggregator"] {
        assert!(threads.iter().any(|(thread, _)| thread == name), "{name}: {threads:?}");
    }
}

#[test]
fn busy_polling_finds_the_same() {
    if !can_run("busy_polling_finds_the_same") {
        return;
    }
    let net = Net::new(2);
    let args = ["-i", "rx0", "--json", "--max-tuples", "100000", "--busy-poll", "50"];
    let mut sensor = net.start(&args);
    send_collision(&net, CLIENT);
    thread::sleep(Duration::from_millis(300));
    let output = sensor.end();
    assert_eq!(alerts(&output).len(), 2, "{}{}", stdout(&output), stderr(&output));
    // Root on a kernel of today is not refused.
    assert!(!stderr(&output).contains("busy polling is refused"), "{}", stderr(&output));
}
