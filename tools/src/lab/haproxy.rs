//! HAProxy of the distribution in one of the lab's namespaces: started, reloaded, asked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::network::Network;

/// How a new process takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It gets the listeners of the old one (`-x`): they are never closed.
    Hitless,
    /// It binds anew once the old one has let go, and without SO_REUSEPORT: there is a gap.
    Gap,
    /// It binds beside the old one (SO_REUSEPORT), whose listener then closes with whatever waits in it.
    Shared,
}

/// A running HAProxy; all its processes are killed when this is dropped.
#[derive(Debug)]
pub struct HaProxy<'a> {
    network: &'a Network,
    host: &'static str,
    directory: PathBuf,
    /// The oldest first.
    processes: Vec<Child>,
}

impl<'a> HaProxy<'a> {
    /// Starts it with this configuration, to which a section `global` is added. How it will be
    /// reloaded matters from the start: it stands there.
    ///
    /// # Errors
    /// It is not installed, or does not like the configuration: what it said.
    pub fn start(
        network: &'a Network,
        host: &'static str,
        configuration: &str,
        how: Reload,
    ) -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(network.namespace(host));
        fs::create_dir_all(&directory)?;
        let mut proxy = Self { network, host, directory, processes: Vec::new() };
        proxy.launch(configuration, how)?;
        Ok(proxy)
    }

    /// A new process with this configuration takes over; the old ones stay as long as they have
    /// connections.
    ///
    /// # Errors
    /// As for [`HaProxy::start`].
    pub fn reload(&mut self, configuration: &str, how: Reload) -> anyhow::Result<()> {
        self.launch(configuration, how)
    }

    /// Its processes get no processor any more, or again: their listeners fill up.
    ///
    /// # Errors
    /// A process has ended.
    pub fn stall(&self, stalled: bool) -> anyhow::Result<()> {
        let signal = if stalled { "-STOP" } else { "-CONT" };
        let pids = self.processes.iter().map(|process| process.id().to_string());
        let status = std::process::Command::new("kill").arg(signal).args(pids).status()?;
        ensure!(status.success(), "kill {signal} failed");
        Ok(())
    }

    /// How many of its processes are alive.
    pub fn processes(&mut self) -> usize {
        self.processes.retain_mut(|process| matches!(process.try_wait(), Ok(None)));
        self.processes.len()
    }

    /// A number of `show stat` of the newest process: the frontend's or backend's `name`.
    ///
    /// # Errors
    /// Those of its socket, or no such number.
    pub fn stat(&self, name: &str, field: &str) -> anyhow::Result<u64> {
        let text = self.ask("show stat", Duration::from_secs(5))?;
        let mut lines = text.lines();
        let names = lines.next().unwrap_or_default().trim_start_matches("# ");
        for line in lines {
            let row: BTreeMap<&str, &str> = names.split(',').zip(line.split(',')).collect();
            if row.get("pxname") == Some(&name) && row["svname"].ends_with("END") {
                return row.get(field).context("no such field")?.parse().context("no number");
            }
        }
        bail!("HAProxy has no {name}")
    }

    fn ask(&self, question: &str, patience: Duration) -> anyhow::Result<String> {
        let mut socket = UnixStream::connect(self.socket())?;
        socket.set_read_timeout(Some(patience))?;
        writeln!(socket, "{question}")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("stats.sock")
    }

    fn launch(&mut self, configuration: &str, how: Reload) -> anyhow::Result<()> {
        let (file, log) = (self.directory.join("haproxy.cfg"), self.directory.join("haproxy.log"));
        let reuse_port = if how == Reload::Gap { "  noreuseport\n" } else { "" };
        let global = format!(
            "global\n  nbthread 1\n{reuse_port}  stats socket {} expose-fd listeners level admin\n",
            self.socket().display()
        );
        fs::write(&file, global + configuration)?;
        let mut command = self.network.command(self.host, "haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let old: Vec<String> =
            self.processes.iter().map(|process| process.id().to_string()).collect();
        if !old.is_empty() {
            if how == Reload::Hitless {
                command.arg("-x").arg(self.socket());
            }
            command.arg("-sf").args(&old);
        }
        let output = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting haproxy; tools/setup --test installs it")?;
        let pid = u64::from(child.id());
        self.processes.push(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.serving() != Some(pid) {
            let newest = self.processes.last_mut().context("a process")?;
            let ended = newest.try_wait()?.is_some();
            ensure!(
                !ended && Instant::now() < deadline,
                "HAProxy does not run: {}",
                fs::read_to_string(&log)?
            );
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The process that answers on the socket.
    fn serving(&self) -> Option<u64> {
        // One that was stalled holds the socket until the new one has it.
        let info = self.ask("show info", Duration::from_millis(100)).ok()?;
        info.lines().find_map(|line| line.strip_prefix("Pid: ")?.parse().ok())
    }
}

impl Drop for HaProxy<'_> {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // One that has ended by itself is none to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}
