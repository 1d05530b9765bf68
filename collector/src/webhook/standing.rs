//! Which groups a hook was told of as firing and of whose end it was not told yet. The last such
//! message lies in a folder of the spool, so that after a kill the next run can tell the end.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::message::Message;
use super::queue::Entry;
use super::spool::{self, make_private};

/// The folder's name in a hook's spool.
const FOLDER: &str = "standing";

/// Since when a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// It was told of in this run.
    Now,
    /// It stood when this run began, and nothing has come of it yet.
    Before,
}

/// A hook's groups that stand, by message key.
#[derive(Debug)]
pub struct Standing {
    dir: PathBuf,
    told: HashMap<String, Since>,
}

impl Standing {
    /// Those that stood when the last run ended: told of, or about to be.
    ///
    /// # Errors
    /// The folder can't be made or read.
    pub fn open(spool: &Path, waiting: &[Entry]) -> io::Result<Self> {
        let dir = spool.join(FOLDER);
        make_private(&dir)?;
        let mut told = HashMap::new();
        for file in fs::read_dir(&dir)? {
            let name = file?.file_name();
            if let Some(key) = name.to_str().and_then(|name| name.strip_suffix(".json")) {
                told.insert(key.to_owned(), Since::Before);
            }
        }
        for entry in waiting {
            if entry.resolved {
                told.remove(&entry.key);
            } else {
                told.insert(entry.key.clone(), Since::Before);
            }
        }
        Ok(Self { dir, told })
    }

    /// Whether the group with this key stands.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.told.contains_key(key)
    }

    /// Takes note of a message that is about to be spooled, and returns what must go out before it:
    /// the end of another group of the same key that stood before, whose last message `last` reads; and
    /// for an end whose beginning this hook did not want, a beginning.
    pub fn note(
        &mut self,
        message: &Message,
        last: impl FnOnce(&str) -> Option<Message>,
    ) -> Vec<Message> {
        let mut before = Vec::new();
        let mut stands = self.has(&message.key);
        if self.told.get(&message.key) == Some(&Since::Before)
            && let Some(other) = last(&message.key).filter(|last| !last.is_of_group(message))
        {
            before.push(other.ended());
            stands = false;
        }
        if !message.resolved {
            self.told.insert(message.key.clone(), Since::Now);
            return before;
        }
        self.told.remove(&message.key);
        if !stands {
            before.push(message.begun());
        }
        before
    }

    /// Keys of the groups that stood before and of which nothing came; they are forgotten.
    pub fn take_left(&mut self) -> Vec<String> {
        let is_left = |_: &String, since: &mut Since| *since == Since::Before;
        let mut keys: Vec<_> = self.told.extract_if(is_left).map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys
    }

    /// A message was given up before it was sent: if it was all that the hook would have heard of its
    /// group, its end has no beginning any more.
    pub fn given_up(&mut self, entry: &Entry) {
        if !entry.resolved && !path(&self.dir, &entry.key).exists() {
            self.told.remove(&entry.key);
        }
    }
}

/// The last message that was delivered of the group with this key, if it stands.
#[must_use]
pub fn last(spool: &Path, key: &str) -> Option<Message> {
    spool::read(&path(&spool.join(FOLDER), key)).ok()
}

fn path(dir: &Path, key: &str) -> PathBuf {
    dir.join(format!("{key}.json"))
}

/// The message of this entry, at `from`, was delivered: it goes out of the spool, and stands or ends
/// its group. An end is forgotten last: cut off in between, it is delivered again.
///
/// # Errors
/// Those of the disk; the message then stays in the spool.
pub fn delivered(spool: &Path, entry: &Entry, from: &Path) -> io::Result<()> {
    let stands = path(&spool.join(FOLDER), &entry.key);
    if !entry.resolved {
        return fs::rename(from, stands);
    }
    forget(spool, entry)?;
    fs::remove_file(from)
}

/// The end of this entry's group is delivered, or never will be.
///
/// # Errors
/// Those of the disk.
pub fn forget(spool: &Path, entry: &Entry) -> io::Result<()> {
    match fs::remove_file(path(&spool.join(FOLDER), &entry.key)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(group: &str, revision: u64, resolved: bool) -> Message {
        let state = if resolved { "resolved" } else { "firing" };
        let event = json!({ "alert": {
            "id": group, "state": state, "group": { "id": group, "revision": revision }
        } });
        let serde_json::Value::Object(event) = event else { unreachable!("an object") };
        let id = format!("msg_{group}_{revision}");
        Message { id, key: "key".to_owned(), revision, resolved, event }
    }

    fn entry(message: &Message) -> Entry {
        let Message { key, id, revision, resolved, .. } = message.clone();
        Entry { seq: 1, key, id, revision, resolved, bytes: 0, attempts: 0 }
    }

    /// States and ids of what goes out before a message.
    fn before(standing: &mut Standing, next: &Message, last: &Message) -> Vec<(String, bool)> {
        let before = standing.note(next, |_| Some(last.clone()));
        before.iter().map(|one| (one.text(&["alert", "id"]).to_owned(), one.resolved)).collect()
    }

    #[test]
    fn what_was_delivered_stands_until_its_end_is() {
        let dir = tempfile::tempdir().unwrap();
        let (firing, end) = (message("a", 1, false), message("a", 2, true));
        let deliver = |message: &Message| {
            let file = dir.path().join("spooled");
            fs::write(&file, serde_json::to_vec(message).unwrap()).unwrap();
            delivered(dir.path(), &entry(message), &file).unwrap();
            assert!(!file.exists());
        };
        assert_eq!(Standing::open(dir.path(), &[]).unwrap().take_left(), [""; 0]);
        deliver(&firing);
        let mut again = Standing::open(dir.path(), &[]).unwrap();
        assert_eq!(last(dir.path(), "key").unwrap().id, "msg_a_1");
        assert_eq!((again.take_left(), again.take_left()), (vec!["key".to_owned()], Vec::new()));
        let mut ending = Standing::open(dir.path(), &[entry(&end)]).unwrap();
        assert_eq!(ending.take_left(), [""; 0], "its end waits in the spool");
        deliver(&end);
        assert_eq!(Standing::open(dir.path(), &[]).unwrap().take_left(), [""; 0]);
    }

    #[test]
    fn another_group_of_the_key_ends_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let old = message("a", 3, false);
        let open = || Standing::open(dir.path(), &[entry(&old)]).unwrap();
        let taken_up = before(&mut open(), &message("a", 1, false), &old);
        assert_eq!(taken_up, [], "read again: the same group");
        let (mut standing, end) = (open(), ("a".to_owned(), true));
        assert_eq!(before(&mut standing, &message("b", 1, false), &old), vec![end.clone()]);
        assert_eq!(before(&mut standing, &message("b", 2, true), &old), []);
        assert_eq!(standing.take_left(), [""; 0]);
        let begun = ("b".to_owned(), false);
        assert_eq!(before(&mut open(), &message("b", 2, true), &old), [end, begun]);
    }

    #[test]
    fn an_end_whose_beginning_was_not_wanted_gets_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut standing = Standing::open(dir.path(), &[]).unwrap();
        let end = message("a", 2, true);
        let begun = standing.note(&end, |_| None);
        assert_eq!(begun.len(), 1);
        assert_eq!((begun[0].resolved, begun[0].state()), (false, "firing"));
        assert_eq!(begun[0].text(&["alert", "state"]), "firing");
        assert_ne!(begun[0].id, end.id);
    }

    #[test]
    fn the_end_after_a_restart_says_so_and_is_the_same_each_time() {
        let end = message("a", 3, false).ended();
        assert_eq!((end.resolved, end.revision), (true, 4));
        assert_eq!(end.text(&["alert", "state"]), "resolved");
        assert_eq!(end.text(&["alert", "until"]), "restart");
        assert_eq!(end.number(&["alert", "group", "revision"]), 4);
        assert_eq!(end.id, message("a", 3, false).ended().id);
        assert_ne!(end.id, message("a", 4, true).id);
    }
}
