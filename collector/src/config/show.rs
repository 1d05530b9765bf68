//! The configuration as text: the one that counts, with where each value comes from, and the example
//! with every key. Both are files that can be read back.

use std::fmt::Write as _;

use super::environment::OTHERS;
#[cfg(feature = "webhook")]
use super::hook_keys;
use super::keys::{Key, Kind, keys};
use super::mistake::Origin;
use super::{Config, reload};

/// Columns of a comment.
const COLUMNS: usize = 98;

/// Values of the example, where there is no default.
const SAMPLES: [(&str, &[&str]); 25] = [
    ("iface", &["ens5"]),
    ("count", &["1000000"]),
    ("duration", &["24h"]),
    ("write", &["/var/tmp/headers.pcapng"]),
    ("sensor", &["mirror-1"]),
    ("stats_interval", &["5m"]),
    ("host_model", &["10.20.0.0/16=freebsd", "10.0.0.0/8=linux"]),
    ("port_range", &["10.0.0.5=1024-65535"]),
    ("vip", &["10.0.0.51:80"]),
    ("snat", &["10.24.20.0/24"]),
    ("server", &["10.0.1.0/24:8080", "[2001:db8::/64]:80"]),
    ("spool_dir", &["/var/lib/xdpwatch/spool"]),
    ("state_file", &["/var/lib/xdpwatch/tuples"]),
    ("state_max_age", &["2m"]),
    ("evidence_dir", &["/var/lib/xdpwatch/evidence"]),
    ("redact_key", &["/etc/xdpwatch/redact.key"]),
    ("listen", &["127.0.0.1:9435"]),
    ("token_file", &["/etc/xdpwatch/token"]),
    ("tls_cert", &["/etc/xdpwatch/cert.pem"]),
    ("tls_key", &["/etc/xdpwatch/key.pem"]),
    ("encap", &["vxlan"]),
    ("busy_poll", &["50"]),
    ("user", &["xdpwatch"]),
    ("cpus", &["2,3"]),
    ("webhook_min_severity", &["2"]),
];

const HEAD: &str = "\
# Configuration of xdpwatch: every key with its meaning and what holds if it is left out.
#
# Read in this order, later ones count: /etc/xdpwatch/xdpwatch.toml, conf.d/*.toml beside it in the
# order of their names, the environment, the command line. A later value, also of a list, stands in
# place of the earlier one; [[webhook]] tables of all files are taken together, by name.
#
# `xdpwatch -T` checks all files and names each mistake; `xdpwatch config show` prints what counts and
# where it comes from. SIGHUP reads all again: if there is a mistake, everything stays as it is. A time
# has a unit in quotes (\"500ms\", \"90s\", \"5m\", \"2h\") or is a number of seconds. Each key is also
# an option of the command line (`xdpwatch --help`) and a variable of the environment; there, lists
# are parted by spaces. `--consume=false` turns off what a file turns on.
";

/// What counts, key by key, as a file.
#[must_use]
pub fn effective(config: &Config) -> String {
    let mut text = String::from("# Read: ");
    let read: Vec<_> = config.read.iter().map(|path| path.display().to_string()).collect();
    text += if read.is_empty() { "no file" } else { "" };
    let _ = writeln!(text, "{}. Secrets are hidden.", read.join(", "));
    sections(&mut text, |text, key| {
        let setting = config.settings.get(&key.id);
        let (values, origin) = match setting {
            Some(setting) => (setting.values.clone(), &setting.origin),
            None => (key.default(), &Origin::Default),
        };
        if values.is_empty() {
            let _ = writeln!(text, "# {} is not set", key.name);
        } else {
            let _ = writeln!(text, "{} = {}  # {origin}", key.name, written(key, &values));
        }
    });
    for (variable, what) in OTHERS {
        if std::env::var_os(variable).is_some() {
            let _ = writeln!(text, "\n# environment {variable} is set (hidden): {what}");
        }
    }
    #[cfg(feature = "webhook")]
    hooks(&mut text, config);
    text
}

/// An example with every key.
#[must_use]
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    text += "#\n";
    for (variable, what) in OTHERS {
        comment(&mut text, &format!("{variable} in the environment is {what}."));
    }
    sections(&mut text, |text, key| {
        if !text.ends_with(&format!("[{}]\n", key.section)) {
            text.push('\n');
        }
        comment(text, &format!("{}.", key.help()));
        if !key.words().is_empty() {
            comment(text, &format!("One of: {}.", key.words().join(", ")));
        }
        let reload = match reload::is_taken(&key.id) {
            true => "SIGHUP takes it",
            false => "needs a restart",
        };
        comment(text, &format!("--{}, {}; {reload}.", key.long, key.variable()));
        let values = if key.default().is_empty() { sample(key) } else { key.default() };
        let _ = writeln!(text, "#{} = {}", key.name, written(key, &values));
    });
    #[cfg(feature = "webhook")]
    {
        text.push('\n');
        comment(&mut text, "Who gets alerts: a table for each. SIGHUP takes all of it.");
        text += "#[[webhook]]\n";
        for key in hook_keys::KEYS {
            comment(&mut text, &format!("{}.", key.help));
            let _ = writeln!(text, "#{} = {}", key.name, key.sample);
        }
    }
    text
}

/// Every table with its keys.
fn sections(text: &mut String, mut each: impl FnMut(&mut String, &Key)) {
    let keys: Vec<_> = keys().into_iter().filter(|key| !key.is_hook).collect();
    let mut sections: Vec<&str> = Vec::new();
    for key in &keys {
        if !sections.contains(&key.section.as_str()) {
            sections.push(&key.section);
        }
    }
    for section in sections {
        let _ = writeln!(text, "\n[{section}]");
        keys.iter().filter(|key| key.section == section).for_each(|key| each(text, key));
    }
}

/// Text in lines that begin with a number sign.
fn comment(text: &mut String, what: &str) {
    let what = what.replace("..", ".");
    let options = textwrap::Options::new(COLUMNS)
        .initial_indent("# ")
        .subsequent_indent("# ")
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    let _ = writeln!(text, "{}", textwrap::fill(&what, options));
}

fn sample(key: &Key) -> Vec<String> {
    let sample = SAMPLES.iter().find(|(id, _)| *id == key.id);
    sample.map_or_else(
        || vec![key.words().first().map_or(key.value_name(), |word| word).to_owned()],
        |(_, values)| values.iter().map(|value| (*value).to_owned()).collect(),
    )
}

/// Values as TOML.
fn written(key: &Key, values: &[String]) -> String {
    let one = |value: &String| match key.kind {
        Kind::Flag | Kind::Count | Kind::Number => value.clone(),
        Kind::Time | Kind::Text => toml::Value::from(value.as_str()).to_string(),
    };
    if key.is_list {
        format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", "))
    } else {
        values.first().map(one).unwrap_or_default()
    }
}

/// The hooks: those of files, or those of flags.
#[cfg(feature = "webhook")]
fn hooks(text: &mut String, config: &Config) {
    for table in &config.hooks.tables {
        let _ = writeln!(text, "\n[[webhook]]  # {}", table.at);
        for key in hook_keys::KEYS {
            let origin = table.keys.iter().find(|(known, _)| known.name == key.name);
            let origin = origin.map_or(&Origin::Default, |(_, at)| at);
            if let Some(value) = (key.shown)(&table.config) {
                let _ = writeln!(text, "{} = {value}  # {origin}", key.name);
            }
        }
    }
    let Some(urls) = config.settings.get("webhook") else { return };
    for (n, url) in urls.values.iter().enumerate() {
        let _ = writeln!(text, "\n[[webhook]]  # {}", urls.origin);
        let url = toml::Value::from(hook_keys::hidden(url));
        let _ = writeln!(text, "url = {url}  # {}", urls.origin);
        let of_flags = keys().into_iter().filter(|key| key.is_hook && key.id != "webhook");
        for mut key in of_flags {
            key.is_list = false;
            let Some(setting) = config.settings.get(&key.id) else { continue };
            // One for all hooks, or one for each.
            let value = setting.values.get(n).or(setting.values.first());
            let name = key.long.trim_start_matches("webhook-").replace('-', "_");
            let value = written(&key, value.map_or(&[], std::slice::from_ref));
            let _ = writeln!(text, "{name} = {value}  # {}", setting.origin);
        }
    }
}
