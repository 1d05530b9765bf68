//! The configuration through the binary: what counts more than what, what is said of mistakes, and that
//! what is shown can be read back.
#![cfg(all(feature = "xdp", feature = "api", feature = "webhook"))]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::hook::{GOOD, Server};
use common::{capture, run_bare, stderr, stdout};
use xdpwatch::config::keys::{Kind, keys};

/// A folder with a configuration.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(main: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir(folder.path("conf.d")).expect("a writable folder");
        folder.write("xdpwatch.toml", main);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a writable folder");
    }

    fn secret(&self, name: &str, mode: u32) -> String {
        self.write(name, "0123456789abcdef0123456789abcdef\n");
        let path = self.path(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file is ours");
        path.display().to_string()
    }

    /// Runs it with this configuration.
    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary starts")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xdpwatch"));
        command.args(args).env("XDPWATCH_CONFIG", self.path("xdpwatch.toml"));
        command
    }

    fn show(&self, args: &[&str]) -> String {
        let output = self.run(&[&["config", "show"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    }
}

/// The line of a key.
#[track_caller]
fn line<'a>(shown: &'a str, key: &str) -> &'a str {
    let begin = format!("{key} = ");
    let line = shown.lines().find(|line| line.starts_with(&begin));
    line.unwrap_or_else(|| panic!("no {key} in {shown}"))
}

/// Each mistake with what must be said of it; `{}` is the folder.
const MISTAKES: &[(&str, &str)] = &[
    ("[detection]", ""),
    ("max_tupels = 5000", "detection.max_tupels: there is no such key; did you mean max_tuples?"),
    (
        "horizon = \"5d\"",
        "detection.horizon: \"5d\" is not accepted: give a whole number and a unit",
    ),
    ("max_tuples = 12", "detection.max_tuples: \"12\" is not accepted: 12 is not in 1024..="),
    ("batch = \"64\"", "detection.batch: give a whole number, without quotes, not text"),
    ("vlan_key = \"yes\"", "detection.vlan_key: give true or false, without quotes, not text"),
    ("snat = [\"10.0.0.0/8\", \"10.0.0.0/33\"]", "detection.snat: \"10.0.0.0/33\" is not accepted"),
    ("host_model = [\"10.0.0.0/8=solaris\"]", "detection.host_model: "),
    ("half_closed_limit = 1.5", "detection.half_closed_limit: give a time in quotes"),
    ("port_range = [", ""),
    ("  \"10.0.0.5=1024-65535\",", ""),
    (
        "  \"10.0.0.6=9-8\",",
        "detection.port_range: \"10.0.0.6=9-8\" is not accepted: give two ports",
    ),
    ("]", ""),
    ("[output]", ""),
    ("json = true", ""),
    ("json = false", "json: duplicate key"),
    ("sensor = \"\"", "output.sensor: "),
    ("max_tuples = 5000", "output.max_tuples: it belongs into [detection], as max_tuples"),
    ("colour = ", "colour: "),
    ("[evidnece]", "[evidnece]: there is no such table; did you mean [evidence]?"),
    ("[evidence]", ""),
    ("evidence_files = 10", "evidence.evidence_files: there is no such key; did you mean files?"),
    ("packets = 64", "evidence.packets: it means nothing without evidence.dir; set that too"),
    ("[live]", ""),
    (
        "encap = \"vxlna\"",
        "live.encap: \"vxlna\" is not accepted: give one of vxlan, geneve, gre, erspan",
    ),
    ("ring_size = 1000", "live.ring_size: \"1000\" is not accepted: give a power of two"),
    ("[api]", ""),
    ("token_file = \"{}/none\"", "api.token_file: there is no file {}/none"),
    (
        "tls_key = \"{}/open\"",
        "api.tls_key: {}/open holds a secret, and everybody can read it: chmod o-rwx",
    ),
    ("tls_cert = \"{}/open\"", ""),
    ("[webhook]", "webhook: a webhook's table has two brackets: [[webhook]]"),
];

/// The same for webhooks, in another file.
const HOOK_MISTAKES: &[(&str, &str)] = &[
    ("[[webhook]]", "webhook.url: it has none; give url = \"https://host/path\""),
    ("format = \"slack\"", ""),
    ("[[webhook]]", ""),
    ("url = \"@{}/none\"", "webhook.url: there is no file {}/none"),
    ("[[webhook]]", ""),
    ("url = \"https://hooks.example/T0/topsecret\"", ""),
    (
        "format = \"slak\"",
        "webhook.format: \"slak\" is no format; did you mean \"slack\"? give one of",
    ),
    (
        "rules = [\"tuple_reuse\", \"tuple_reuze\"]",
        "webhook.rules: \"tuple_reuze\" is no rule; did you mean \"tuple_reuse\"?",
    ),
    ("min_severity = 4", "webhook.min_severity: 4 is out of range: give 1 (worst), 2 or 3 (all)"),
    ("services = [\"10.0.0.1:x\"]", "webhook.services: \"10.0.0.1:x\" is no service"),
    ("timeout = \"soon\"", "webhook.timeout: \"soon\" is not accepted"),
    ("secret = \"hush\"", "webhook.secret: there is no such key; did you mean secret_"),
    ("[[webhook]]", ""),
    ("url = \"http://127.0.0.1:9/\"", ""),
    (
        "secret_file = \"{}/open\"",
        "webhook.secret_file: {}/open holds a secret, and everybody can read it",
    ),
    ("[[webhook]]", ""),
    ("name = \"pages\"", ""),
    ("url = \"http://127.0.0.1:9/\"", ""),
    ("[[webhook]]", ""),
    ("url = \"ftp://127.0.0.1:9/\"", ""),
    ("name = \"pages\"", "webhook.name: {}/conf.d/20-hooks.toml:"),
    ("[[webhook]]", "webhook: the URL must begin with https://host"),
    ("url = \"ftp://127.0.0.1:9/\"", ""),
    ("[input]", ""),
    ("iface = [\"a\", \"b\", \"a\"]", "input.iface: interface a is given twice: leave one"),
    ("[live]", ""),
    ("consume = true", ""),
    ("encap = \"gre\"", "live.encap: it excludes live.consume"),
];

#[test]
fn every_mistake_is_named_with_its_line_in_one_run() {
    let folder = Folder::new("");
    let here = folder.0.path().display().to_string();
    folder.secret("open", 0o644);
    let mut expected = Vec::new();
    for (name, mistakes) in [("xdpwatch.toml", MISTAKES), ("conf.d/20-hooks.toml", HOOK_MISTAKES)] {
        let text: Vec<_> = mistakes.iter().map(|(line, _)| line.replace("{}", &here)).collect();
        folder.write(name, &text.join("\n"));
        for (n, (_, said)) in mistakes.iter().enumerate().filter(|(_, (_, said))| !said.is_empty())
        {
            let said = said.replace("{}", &here);
            expected.push(format!("xdpwatch: {}:{}: {said}", folder.path(name).display(), n + 1));
        }
    }
    symlink("/nowhere", folder.path("conf.d/10-gone.toml")).unwrap();
    expected.push(format!("{}/conf.d/10-gone.toml: there is no such file", here));
    let mut command = folder.command(&["-T"]);
    command.env("XDPWATCH_WORKERS", "many").env("XDPWATCH_MAX_TUPELS", "1");
    command.env("XDPWATCH_LOG", "xdpwatch=loud");
    // The tests' own.
    command.env_remove("XDPWATCH_LONG").env_remove("XDPWATCH_LAB");
    let output = command.output().expect("the binary starts");
    expected.push(
        "environment XDPWATCH_WORKERS: \"many\" is not accepted: give a whole number".to_owned(),
    );
    expected.push(
        "environment XDPWATCH_MAX_TUPELS: there is no such variable; did you mean".to_owned(),
    );
    expected.push("environment XDPWATCH_LOG: it is no log filter (".to_owned());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(expected.len() >= 30, "that many were seeded");
    for what in &expected {
        assert!(said.contains(what), "not said: {what}\nsaid:\n{said}");
    }
    assert_eq!(said.lines().count(), expected.len(), "and nothing else:\n{said}");
    assert!(!said.contains("topsecret"), "{said}");
}

/// Flags as they may be typed, and what must be said of them.
const FLAG_MISTAKES: &[(&str, &str)] = &[
    ("--max-tuples 12", "flag --max-tuples: \"12\" is not accepted: 12 is not in 1024..="),
    ("--max-tupels 5000", "flag --max-tupels: there is no such flag; did you mean --max-tuples?"),
    ("--horizon=5d", "flag --horizon: \"5d\" is not accepted: give a whole number and a unit"),
    ("-i rx0", ""),
    ("--host-model 10.0.0.1=linux", ""),
    (
        "--host-model 10.0.0.0/8=solaris",
        "flag --host-model: \"10.0.0.0/8=solaris\" is not accepted",
    ),
    ("--encap vxlna", "flag --encap: \"vxlna\" is not accepted: give one of vxlan, geneve, gre"),
    ("--colour", "flag --colour: there is no such flag"),
    ("--redact=false", ""),
    ("--json=perhaps", "flag --json: unexpected value 'perhaps' for '--json' found"),
    ("-r a.pcap", "flag --"),
    ("explian", "argument explian: "),
    ("-Z", "argument -Z: there is no such flag"),
    ("--batch", "flag --batch: its value is missing"),
];

#[test]
fn every_mistake_of_flags_is_named_beside_those_of_files() {
    let folder = Folder::new("[detection]\nhorizon = \"5d\"\n[evidence]\nredact = true\n");
    let typed = FLAG_MISTAKES.iter().flat_map(|(flags, _)| flags.split(' '));
    let mut args: Vec<&str> = typed.collect();
    args.insert(4, "-T");
    let output = folder.run(&args);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let mut expected: Vec<_> =
        FLAG_MISTAKES.iter().map(|(_, what)| *what).filter(|what| !what.is_empty()).collect();
    expected.push("xdpwatch.toml:2: detection.horizon: \"5d\" is not accepted");
    for what in &expected {
        assert!(said.contains(what), "not said: {what}\nsaid:\n{said}");
    }
    assert_eq!(said.lines().count(), expected.len(), "and nothing else:\n{said}");
    // What is to be run stops at the first, with the usage.
    let output = folder.run(&["--max-tupels", "5", "--horizon=5d"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("--max-tupels") && !said.contains("5d"), "{said}");
    assert_eq!(folder.run(&["-T", "--help"]).status.code(), Some(0), "no mistake");
}

#[test]
fn a_right_configuration_is_approved_with_the_files_that_were_read() {
    let folder = Folder::new("[detection]\nhorizon = \"5m\"\n");
    folder.write("conf.d/b.toml", "[output]\nall_reuse = true\n");
    folder.write("conf.d/c.toml.bak", "what = ever");
    let output = folder.run(&["-T"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("xdpwatch.toml") && said.contains("conf.d/b.toml"), "{said}");
    assert!(said.contains("names no interface"), "{said}");
    let named = Folder::new("[input]\niface = \"ens5\"\n");
    assert!(!stderr(&named.run(&["-T"])).contains("names no interface"));
    let none = run_bare(&["-T", "--config", "/nowhere/xdpwatch.toml"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("/nowhere/xdpwatch.toml: there is no such file"));
}

#[test]
fn files_environment_and_flags_count_in_rising_order() {
    let folder = Folder::new(
        "[detection]\nmax_tuples = 2000\nhorizon = 60\nworkers = 2\nbatch = 8\n\
         vip = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n[live]\nconsume = true\n[output]\nverbose = 2\n",
    );
    folder.write("conf.d/10.toml", "[detection]\nhorizon = \"70s\"\nworkers = 3\nbatch = 9\n");
    folder
        .write("conf.d/20.toml", "[detection]\nworkers = 4\nbatch = 10\nvip = [\"10.0.0.3:80\"]\n");
    let mut command = folder.command(&["config", "show", "--batch", "12", "--consume=false"]);
    let output = command.env("XDPWATCH_WORKERS", "5").env("XDPWATCH_BATCH", "11").output().unwrap();
    let shown = stdout(&output);
    let from = |name: &str, line: u32| format!("  # {}:{line}", folder.path(name).display());
    assert_eq!(
        line(&shown, "max_tuples"),
        format!("max_tuples = 2000{}", from("xdpwatch.toml", 2))
    );
    assert_eq!(line(&shown, "horizon"), format!("horizon = \"70s\"{}", from("conf.d/10.toml", 2)));
    assert_eq!(
        line(&shown, "vip"),
        format!("vip = [\"10.0.0.3:80\"]{}", from("conf.d/20.toml", 4))
    );
    assert_eq!(line(&shown, "verbose"), format!("verbose = 2{}", from("xdpwatch.toml", 10)));
    assert_eq!(line(&shown, "workers"), "workers = 5  # environment XDPWATCH_WORKERS");
    assert_eq!(line(&shown, "batch"), "batch = 12  # flag --batch");
    assert_eq!(line(&shown, "consume"), "consume = false  # flag --consume");
    assert_eq!(line(&shown, "half_closed_limit"), "half_closed_limit = \"60s\"  # default");
}

#[test]
fn what_is_shown_can_be_read_back_and_shows_no_secret() {
    let folder = Folder::new("");
    let secret = folder.secret("secret", 0o600);
    folder.write(
        "xdpwatch.toml",
        &format!(
            "[input]\niface = [\"ens5\", \"ens6\"]\n[evidence]\ndir = \"/tmp\"\nage = \"2h\"\n\
             [group]\nquiet = \"3m\"\n\
             [[webhook]]\nurl = \"https://hooks.example/T0/topsecret\"\nformat = \"slack\"\n\
             rules = [\"churn\"]\nproxy = \"http://me:hush@proxy:3128\"\n\
             [[webhook]]\nname = \"pages\"\nurl = \"http://127.0.0.1:9/\"\nsecret_file = \"{secret}\"\n"
        ),
    );
    folder.write(
        "conf.d/10.toml",
        "[[webhook]]\nname = \"pages\"\nurl = \"http://127.0.0.1:8/\"\nmin_severity = 1\n",
    );
    let shown = folder.show(&[]);
    assert!(!shown.contains("topsecret") && !shown.contains("hush"), "{shown}");
    assert!(shown.contains("url = \"https://hooks.example/***\"  # "), "{shown}");
    assert!(shown.contains("127.0.0.1:8") && !shown.contains("127.0.0.1:9/"), "by name: {shown}");
    let again = Folder::new(&shown);
    let values = |shown: &str| -> Vec<String> {
        let lines = shown.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&again.show(&[])), values(&shown));
    let by_flag =
        again.show(&["--webhook", "https://h.example/x/topsecret", "--webhook-format", "teams"]);
    assert_eq!(by_flag.matches("[[webhook]]").count(), 1, "flags stand for files: {by_flag}");
    assert!(by_flag.contains("format = \"teams\"  # flag --webhook-format"), "{by_flag}");
    assert!(!by_flag.contains("topsecret"), "{by_flag}");
}

#[test]
fn the_example_has_every_key_and_is_accepted() {
    let example = stdout(&run_bare(&["config", "example"]));
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/xdpwatch.toml");
    let committed = fs::read_to_string(committed).expect("packaging/xdpwatch.toml is there");
    assert!(
        example == committed,
        "options have changed: xdpwatch config example > packaging/xdpwatch.toml"
    );
    let mut section = "";
    let mut found = Vec::new();
    for line in example.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if let Some((name, _)) = line.strip_prefix('#').and_then(|l| l.split_once(" = "))
            && !name.starts_with(' ')
        {
            found.push(format!("{section}.{name}"));
        }
    }
    for key in keys().iter().filter(|key| !key.is_hook) {
        assert!(found.contains(&key.path()), "the example lacks {}", key.path());
        assert!(example.contains(&key.variable()), "{}", key.variable());
        assert!(!key.help().is_empty(), "--{} has no help", key.long);
    }
    // With every key in effect, all that is wrong is that these files are not here.
    let lines = example.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => key,
        _ => line,
    });
    let folder = Folder::new(&lines.collect::<Vec<_>>().join("\n"));
    let said = stderr(&folder.run(&["-T"]));
    let others: Vec<_> = said
        .lines()
        .filter(|line| {
            !line.contains("there is no file") && !line.contains("secret_file is there too")
        })
        .filter(|line| {
            !line.contains("evidence.redact_key: it means nothing without evidence.redact")
        })
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn every_option_has_a_key() {
    let command = xdpwatch::config::keys::command();
    let without = ["read", "config", "test_config", "help", "version"];
    let known = keys();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let has_key = known.iter().any(|key| key.id == id);
        assert_eq!(has_key, !without.contains(&id), "{id}");
    }
    for key in &known {
        let same = known.iter().filter(|other| other.path() == key.path()).count();
        assert_eq!(same, 1, "{} is ambiguous", key.path());
        assert_ne!(key.section, "general", "--{} needs a help heading", key.long);
    }
    assert!(known.iter().any(|key| key.kind == Kind::Time && key.path() == "group.quiet"));
}

#[test]
fn files_are_read_with_the_sensors_configuration() {
    let server = Server::start(|_| GOOD);
    let folder = Folder::new("");
    let text = format!(
        "[input]\niface = [\"ens5\"]\nduration = \"1h\"\ncompare = true\n[live]\nmode = \"tap\"\n[output]\n\
         json = true\nstats_interval = \"5s\"\nsensor = \"mirror-1\"\n[webhooks]\nspool_dir = \"{}\"\n\
         [group]\nquiet = \"1s\"\n\
         [[webhook]]\nurl = \"{}\"\nrules = [\"tuple_reuse\"]\n[[webhook]]\nurl = \"{}\"\nrules = [\"churn\"]\n",
        folder.path("spool").display(),
        server.url(),
        server.url().replace("hook", "other"),
    );
    folder.write("xdpwatch.toml", &text);
    let file = capture("server-side.pcap");
    let output = folder.run(&["-r", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("\"sensor\":\"mirror-1\""), "{}", stdout(&output));
    let taken = server.taken();
    assert!(taken.len() >= 2, "{taken:#?}");
    assert!(taken.iter().all(|request| request.path == "/hook"), "only those of the rule");
    let tested = folder.run(&["webhook", "test"]);
    assert_eq!(tested.status.code(), Some(0), "{}", stderr(&tested));
    assert_eq!(stdout(&tested).matches("taken").count(), 4, "{}", stdout(&tested));
}

#[test]
fn subcommands_use_what_concerns_them() {
    let folder = Folder::new("[input]\niface = \"no-such-if0\"\n[output]\nlang = \"zh\"\n");
    let output = folder.run(&["doctor"]);
    assert!(stderr(&output).contains("no interface no-such-if0"), "{}", stderr(&output));
    let page = stdout(&folder.run(&["explain", "paws"]));
    assert!(page.contains("时间戳"), "{page}");
    let wrong = Folder::new("[output]\nlang = \"fr\"\n");
    assert_eq!(wrong.run(&["explain", "paws"]).status.code(), Some(0), "a page can be read anyway");
    assert_eq!(wrong.run(&["doctor", "--iface", "lo"]).status.code(), Some(2));
}
