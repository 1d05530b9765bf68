//! Operation, live in network namespaces: evidence of a live collision, readiness, and what
//! Prometheus, its rules and the dashboard make of the metrics. Needs root; says so without.
#![cfg(all(feature = "api", feature = "xdp"))]

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::http::{Answer, get};
use common::net::{Net, Sender, can_run};
use common::{alerts, collision, run, stderr};
use serde_json::Value;

const AT: &str = "127.0.0.1:9435";

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// GET from within the namespace.
fn get_in(net: &Net, at: &str, path: &str) -> Answer {
    let at: SocketAddr = at.parse().expect("an address");
    net.inside(|| get(at, path))
}

fn send_collision(net: &Net) {
    let frames = collision((0x0a00_0001, 40_000), (0x0a00_0002, 80), 0);
    net.inside(|| {
        let sender = Sender::open("tx0");
        for (_, frame) in &frames {
            sender.send(frame);
            thread::sleep(Duration::from_millis(2));
        }
    });
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// A live collision's evidence gives the same finding from the file, however many queues there are.
#[test]
fn live_evidence_replays_to_the_same_finding() {
    if !can_run("live_evidence_replays_to_the_same_finding") {
        return;
    }
    for queues in [1, 2] {
        let net = Net::new(queues);
        let dir = tempfile::tempdir().expect("a folder");
        let mut sensor = net.start(&["-i", "rx0", "--json", "--evidence-dir", text(dir.path())]);
        send_collision(&net);
        thread::sleep(Duration::from_millis(200));
        let firing = std::fs::read_dir(dir.path()).expect("the folder").count();
        assert_eq!(firing, 1, "the first version is there before the end");
        let output = sensor.end();
        let events: Vec<Value> =
            alerts(&output).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(events.len(), 2, "{}", stderr(&output));
        let event = &events[1];
        assert_eq!(event["alert"]["evidence_complete"], true, "{event:#}");
        let name = event["alert"]["evidence"].as_str().expect("a file");
        let again = run(&["--json", "-r", text(&dir.path().join(name))]);
        let again: Value =
            serde_json::from_str(alerts(&again).last().expect("a finding")).expect("JSON");
        assert_eq!(again["alert"]["id"], event["alert"]["id"]);
        for key in ["holder", "isn_delta", "ts_delta", "verdict", "cause", "answer", "syn_count"] {
            assert_eq!(without_utc(&again, key), without_utc(event, key), "{key}");
        }
    }
}

/// A fact without its point in time: live events follow the drift of UTC, files keep their clock.
fn without_utc(event: &Value, key: &str) -> Value {
    let mut fact = event["tuple_reuse"][key].clone();
    if let Some(holder) = fact.as_object_mut() {
        holder.remove("deadline");
    }
    fact
}

#[test]
fn ready_once_attached_and_served_by_default_on_loopback() {
    if !can_run("ready_once_attached_and_served_by_default_on_loopback") {
        return;
    }
    let net = Net::new(2);
    let mut sensor = net.start(&["-i", "rx0"]);
    let at: SocketAddr = AT.parse().expect("an address");
    wait_for("ready", || net.inside(|| get(at, "/readyz")).status == 200);
    assert!(get_in(&net, AT, "/metrics").text().contains("xdpwatch_ready 1\n"));
    let second = net.run(&["-i", "rx0", "--listen", AT]);
    assert!(stderr(&second).contains("is it this host's, and free?"), "{}", stderr(&second));
    sensor.end();
    let mut without = net.start(&["-i", "rx0", "--listen", "off"]);
    let answers = net.inside(|| std::net::TcpStream::connect(at).is_ok());
    assert!(!answers, "off means off");
    without.end();
}

/// Names of metrics in an expression.
fn names(expression: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c| !word(c));
    words.filter(|word| word.starts_with("xdpwatch_")).map(str::to_owned).collect()
}

/// Every expression of the dashboard: its panels' and its variables'.
fn dashboard() -> Vec<String> {
    let text = std::fs::read_to_string(packaging("grafana/xdpwatch.json")).expect("it is there");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let variables = dashboard["templating"]["list"].as_array().expect("variables").iter();
    targets
        .map(|target| &target["expr"])
        .chain(variables.map(|variable| &variable["query"]))
        .map(|expression| expression.as_str().expect("a string").to_owned())
        .collect()
}

#[test]
fn dashboard_and_rules_name_only_metrics_that_exist() {
    if !can_run("dashboard_and_rules_name_only_metrics_that_exist") {
        return;
    }
    let net = Net::new(1);
    let dir = tempfile::tempdir().expect("a folder");
    let _sensor = net.start(&["-i", "rx0", "--evidence-dir", text(dir.path())]);
    send_collision(&net);
    wait_for("the alert is counted", || {
        get_in(&net, AT, "/metrics").text().contains("xdpwatch_alerts_fired_total{")
    });
    let metrics = get_in(&net, AT, "/metrics").text();
    let real: BTreeSet<String> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect();
    assert!(real.len() > 50, "{metrics}");
    let rules = std::fs::read_to_string(packaging("prometheus/xdpwatch.rules.yml")).expect("rules");
    let expressions = dashboard();
    assert!(expressions.len() > 30);
    for name in expressions.iter().chain([&rules]).flat_map(|expression| names(expression)) {
        assert!(real.contains(&name), "{name} is no metric of {real:#?}");
    }
}

/// Whether a tool of Prometheus is installed; if not, says loudly that `test` is skipped.
fn is_installed(tool: &str, test: &str) -> bool {
    let is = Command::new(tool).arg("--version").output().is_ok();
    if !is {
        let reason = format!("{tool} is not installed (tools/setup --test)");
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
    }
    is
}

#[test]
fn promtool_takes_the_rules_and_their_tests() {
    if !is_installed("promtool", "promtool_takes_the_rules_and_their_tests") {
        return;
    }
    for args in
        [["check", "rules", "xdpwatch.rules.yml"], ["test", "rules", "xdpwatch.rules.test.yml"]]
    {
        let mut promtool = Command::new("promtool");
        let output = promtool.args(args).current_dir(packaging("prometheus")).output();
        let output = output.expect("promtool runs");
        assert!(output.status.success(), "{}{}", common::stdout(&output), stderr(&output));
    }
}

/// Killed when the test is over.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn prometheus_scrapes_every_metric_without_a_warning() {
    let test = "prometheus_scrapes_every_metric_without_a_warning";
    if !can_run(test) || !is_installed("prometheus", test) {
        return;
    }
    let net = Net::new(2);
    let dir = tempfile::tempdir().expect("a folder");
    let evidence = dir.path().join("evidence");
    let _sensor = net.start(&["-i", "rx0", "--evidence-dir", text(&evidence)]);
    send_collision(&net);
    let config = dir.path().join("prometheus.yml");
    let rules = packaging("prometheus/xdpwatch.rules.yml");
    let yaml = format!(
        "global: {{ scrape_interval: 1s }}\nrule_files: ['{}']\nscrape_configs:\n  \
         - job_name: xdpwatch\n    static_configs: [{{ targets: ['{AT}'] }}]\n",
        text(&rules.canonicalize().expect("the rules are there"))
    );
    std::fs::write(&config, yaml).expect("a writable folder");
    let log = std::fs::File::create(dir.path().join("log")).expect("a writable folder");
    let mut prometheus = net.command("prometheus");
    prometheus.arg(format!("--config.file={}", text(&config)));
    prometheus.arg(format!("--storage.tsdb.path={}", text(&dir.path().join("tsdb"))));
    prometheus.args(["--web.listen-address=127.0.0.1:9490", "--log.level=debug"]);
    let child = prometheus.stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
    let _prometheus = Background(child);
    let at: SocketAddr = "127.0.0.1:9490".parse().expect("an address");
    wait_for("Prometheus listens", || net.inside(|| std::net::TcpStream::connect(at).is_ok()));
    wait_for("Prometheus is ready", || net.inside(|| get(at, "/-/ready")).status == 200);
    let query = |query: &str| {
        let path = format!("/api/v1/query?query={query}");
        get_in(&net, "127.0.0.1:9490", &path).json()["data"]["result"].clone()
    };
    wait_for("the alert is scraped", || {
        query("xdpwatch_alerts_fired_total").as_array().is_some_and(|found| !found.is_empty())
    });
    let metrics = get_in(&net, AT, "/metrics").text();
    let lines = metrics.lines().filter(|line| !line.starts_with('#')).count();
    let samples = query("scrape_samples_scraped");
    let scraped = samples[0]["value"][1].as_str().and_then(|n| n.parse().ok());
    assert_eq!(scraped, Some(lines), "{samples}");
    assert_eq!(query("up")[0]["value"][1], "1");
    let log = std::fs::read_to_string(dir.path().join("log")).expect("the log");
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("level=warn") || line.contains("level=error"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let path = format!("/api/v1/targets/metadata?metric={}", "xdpwatch_table_time_wait");
    let metadata = get_in(&net, "127.0.0.1:9490", &path).json();
    assert_eq!(metadata["data"][0]["type"], "gauge", "{metadata}");
}
