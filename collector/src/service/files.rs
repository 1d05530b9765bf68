//! Which files and folders a sensor has to do with, from the arguments: made for the user that it goes
//! on as, looked at before the start, and all that Landlock leaves.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::fs::{Access, access};

use super::user::Person;
use crate::args::Args;

/// What any program reads: configuration of the host (names, certificates), libraries, the kernel's
/// word on interfaces and processes. Whole folders, because files in them are replaced.
const SYSTEM: [&str; 14] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/proc",
    "/sys",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/run/NetworkManager",
    "/run/nscd",
    "/run/resolvconf",
    "/run/systemd/resolve",
];

/// What the libraries of TLS read certificates from.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A folder to be made.
#[derive(Clone, Debug)]
struct Folder {
    path: PathBuf,
    mode: u32,
    /// Whether it can't be done without.
    is_needed: bool,
}

/// What may be read and written.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// Folders and files that are read, with everything in them.
    pub read: Vec<PathBuf>,
    /// Folders and files that are written to.
    pub write: Vec<PathBuf>,
    /// Of the arguments' files, those that must be readable.
    needed: Vec<PathBuf>,
    /// Folders to be made.
    folders: Vec<Folder>,
    /// Files to be made.
    files: Vec<PathBuf>,
}

impl Paths {
    /// Those of the arguments, and the host's.
    #[must_use]
    pub fn of(args: &Args) -> Self {
        let mut paths = Self::default();
        paths.read.extend(SYSTEM.map(PathBuf::from));
        args.config.iter().for_each(|path| paths.file(path));
        paths.read.extend(CERTIFICATES.iter().filter_map(std::env::var_os).map(PathBuf::from));
        if let Some(path) = &args.write {
            paths.write.push(path.clone());
            paths.files.push(path.clone());
        }
        if let Some(path) = &args.evidence.evidence_dir {
            paths.folder(Folder { path: path.clone(), mode: 0o750, is_needed: true });
        }
        if let Some(key) = &args.evidence.redact_key {
            // It is made if it is not there.
            paths.write.push(folder_of(key));
        }
        if let Some(path) = &args.state.state_file {
            // It is made beside its place and then moved there.
            paths.folder(Folder { path: folder_of(path), mode: 0o750, is_needed: true });
        }
        #[cfg(feature = "webhook")]
        paths.add_webhooks(&args.webhooks);
        #[cfg(feature = "api")]
        for path in [&args.api.token_file, &args.api.tls_cert, &args.api.tls_key] {
            path.iter().for_each(|path| paths.file(path));
        }
        paths
    }

    #[cfg(feature = "webhook")]
    fn add_webhooks(&mut self, options: &crate::webhook::options::Options) {
        // A reload may bring the first hook.
        self.folder(Folder { path: options.spool(true), mode: 0o700, is_needed: options.any() });
        // What is wrong with them is said when they are started.
        for hook in options.configs().unwrap_or_default() {
            let url = hook.url.strip_prefix('@').map(PathBuf::from);
            let files = [url, hook.secret_file, hook.template, hook.ca_file, hook.headers_file];
            files.iter().flatten().for_each(|path| self.file(path));
        }
    }

    /// A file that is read now, and once more after it was replaced.
    fn file(&mut self, path: &Path) {
        self.needed.push(path.to_owned());
        self.read.push(folder_of(path));
    }

    /// A folder that is written to; one that may be needed later, only where its parent is.
    fn folder(&mut self, folder: Folder) {
        if folder.is_needed || folder.path.parent().is_some_and(Path::exists) {
            self.write.push(folder.path.clone());
            self.folders.push(folder);
        }
    }

    /// Makes folders and files that are not there yet, for `person` if it is given. What is there
    /// already stays as it is.
    ///
    /// # Errors
    /// They can't be made.
    pub fn prepare(&self, person: Option<&Person>) -> anyhow::Result<()> {
        let owner = person.map(|person| (Some(person.uid.as_raw()), Some(person.gid.as_raw())));
        for Folder { path, mode, is_needed } in &self.folders {
            let is_new = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
            let mut new: Vec<_> = path.ancestors().take_while(is_new).collect();
            new.reverse();
            for path in new {
                let made = DirBuilder::new()
                    .mode(*mode)
                    .create(path)
                    .and_then(|()| owner.map_or(Ok(()), |(uid, gid)| lchown(path, uid, gid)));
                if *is_needed {
                    made.with_context(|| format!("making the folder {}", path.display()))?;
                }
            }
        }
        for path in self.files.iter().filter(|path| !path.exists()) {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o640);
            options
                .open(path)
                .and_then(|file| owner.map_or(Ok(()), |(uid, gid)| fchown(file, uid, gid)))
                .with_context(|| format!("creating {}", path.display()))?;
        }
        Ok(())
    }

    /// Whether the user of this name, who this process is by now, can use them.
    ///
    /// # Errors
    /// One that it can't, with the cure.
    pub fn check(&self, name: &str) -> anyhow::Result<()> {
        let may = |path: &Path, what| access(path, what).is_ok();
        for Folder { path, .. } in self.folders.iter().filter(|folder| folder.is_needed) {
            let shown = path.display();
            ensure!(
                may(path, Access::WRITE_OK | Access::EXEC_OK),
                "the user {name} may not write to the folder {shown}: `chown -R {name}: {shown}`, \
                 name another, or keep root's rights with --user root"
            );
        }
        for file in &self.files {
            let shown = file.display();
            ensure!(
                may(file, Access::WRITE_OK),
                "the user {name} may not write to {shown}: give it the file and the way there, name \
                 another, or keep root's rights with --user root"
            );
        }
        for file in self.needed.iter().filter(|file| file.try_exists().unwrap_or(true)) {
            let shown = file.display();
            ensure!(
                may(file, Access::READ_OK),
                "the user {name} may not read {shown}: `chgrp {name} {shown} && chmod g+r {shown}`, or \
                 keep root's rights with --user root"
            );
        }
        Ok(())
    }
}

/// The folder that holds a file, for what is replaced is another file; the file itself where that
/// folder is the root of everything.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) if folder.parent().is_some() => folder.to_owned(),
        _ => path.to_owned(),
    }
}
