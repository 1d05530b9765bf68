//! The order in which one hook's messages are tried, and which are given up when there are too many.
//! Pure bookkeeping: no files, no clock.
//!
//! Messages of one key go out strictly in order; other keys overtake one that keeps failing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

/// One message, as far as order and room need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Rises with each message.
    pub seq: u64,
    /// Messages with the same key keep their order.
    pub key: String,
    /// The message's id.
    pub id: String,
    /// The group's revision.
    pub revision: u64,
    /// Whether it is the group's end.
    pub resolved: bool,
    /// Size on disk, bytes.
    pub bytes: u64,
    /// Failed tries.
    pub attempts: u32,
}

/// Messages and bytes that may wait.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Messages.
    pub messages: usize,
    /// Bytes.
    pub bytes: u64,
}

/// What waits.
#[derive(Debug, Default)]
pub struct Queue {
    entries: BTreeMap<u64, Entry>,
    by_key: HashMap<String, VecDeque<u64>>,
    /// The first of each key: least tried first, then oldest.
    ready: BTreeSet<(u32, u64)>,
    ids: HashSet<String>,
    bytes: u64,
}

impl Queue {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a message with this id waits.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Takes a message; `seq` is higher than every one before.
    pub fn push(&mut self, entry: Entry) {
        let of_key = self.by_key.entry(entry.key.clone()).or_default();
        if of_key.is_empty() {
            self.ready.insert((entry.attempts, entry.seq));
        }
        of_key.push_back(entry.seq);
        self.bytes += entry.bytes;
        self.ids.insert(entry.id.clone());
        self.entries.insert(entry.seq, entry);
    }

    /// The message to be tried next; it stays.
    #[must_use]
    pub fn next(&self) -> Option<&Entry> {
        self.ready.first().and_then(|(_, seq)| self.entries.get(seq))
    }

    /// The latest message of this key that waits.
    #[must_use]
    pub fn last(&self, key: &str) -> Option<&Entry> {
        self.by_key.get(key)?.back().and_then(|seq| self.entries.get(seq))
    }

    /// A try failed.
    pub fn failed(&mut self, seq: u64) {
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        let was_ready = self.ready.remove(&(entry.attempts, seq));
        entry.attempts += 1;
        if was_ready {
            self.ready.insert((entry.attempts, seq));
        }
    }

    /// A message is done with.
    pub fn remove(&mut self, seq: u64) -> Option<Entry> {
        let entry = self.entries.remove(&seq)?;
        self.ready.remove(&(entry.attempts, seq));
        self.bytes -= entry.bytes;
        self.ids.remove(&entry.id);
        let of_key = self.by_key.get_mut(&entry.key)?;
        of_key.retain(|other| *other != seq);
        match of_key.front() {
            Some(first) => {
                let attempts = self.entries[first].attempts;
                self.ready.insert((attempts, *first));
            }
            None => {
                self.by_key.remove(&entry.key);
            }
        }
        Some(entry)
    }

    /// Takes out what is given up so that there is room, a sixteenth at a time. `busy` is being tried
    /// and stays. First go, oldest first, alerts that are over and of which nothing was sent, with
    /// their `resolved`; then messages that a later one of the same alert repeats; then the oldest.
    pub fn make_room(&mut self, room: Room, busy: Option<u64>) -> Vec<Entry> {
        if self.len() <= room.messages && self.bytes <= room.bytes {
            return Vec::new();
        }
        let enough = Room {
            messages: room.messages - room.messages / 16,
            bytes: room.bytes - room.bytes / 16,
        };
        let mut given_up = Vec::new();
        for class in [Self::over, Self::repeated, Self::oldest] {
            for seq in class(self) {
                if self.len() <= enough.messages && self.bytes <= enough.bytes {
                    return given_up;
                }
                if Some(seq) != busy {
                    given_up.extend(self.remove(seq));
                }
            }
        }
        given_up
    }

    /// Messages up to the end of alerts of which the first is still here.
    fn over(&self) -> Vec<u64> {
        let mut over = Vec::new();
        for of_key in self.by_key.values() {
            let end = of_key.iter().position(|seq| self.entries[seq].resolved);
            if let (Some(end), Some(first)) = (end, of_key.front())
                && self.entries[first].revision == 1
            {
                over.push(of_key.iter().take(end + 1).copied().collect::<Vec<_>>());
            }
        }
        over.sort_unstable();
        over.concat()
    }

    fn repeated(&self) -> Vec<u64> {
        let of_keys = self.by_key.values();
        let mut repeated: Vec<_> = of_keys
            .flat_map(|of_key| of_key.iter().zip(of_key.iter().skip(1)))
            .filter(|(one, next)| !self.entries[*one].resolved && !self.entries[*next].resolved)
            .map(|(one, _)| *one)
            .collect();
        repeated.sort_unstable();
        repeated
    }

    fn oldest(&self) -> Vec<u64> {
        self.entries.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, key: &str, revision: u64, resolved: bool) -> Entry {
        let (key, id) = (key.to_owned(), format!("{key}-{revision}"));
        Entry { seq, key, id, revision, resolved, bytes: 10, attempts: 0 }
    }

    fn queue(entries: &[(u64, &str, u64, bool)]) -> Queue {
        let mut queue = Queue::default();
        for (seq, key, revision, resolved) in entries {
            queue.push(entry(*seq, key, *revision, *resolved));
        }
        queue
    }

    #[test]
    fn one_key_keeps_its_order_and_others_overtake() {
        let mut queue =
            queue(&[(1, "a", 1, false), (2, "a", 2, true), (3, "b", 1, false), (4, "b", 2, true)]);
        let mut order = Vec::new();
        for _ in 0..3 {
            // The first of `a` fails again and again.
            let seq = queue.next().unwrap().seq;
            order.push(seq);
            if seq == 1 { queue.failed(seq) } else { drop(queue.remove(seq)) }
        }
        assert_eq!(order, [1, 3, 4]);
        assert_eq!(queue.next().unwrap().seq, 1, "never its end before it");
        queue.remove(1);
        assert_eq!(queue.next().unwrap().seq, 2);
        queue.remove(2);
        assert!(queue.is_empty() && queue.by_key.is_empty() && queue.bytes == 0);
    }

    #[test]
    fn what_is_over_goes_first_then_repeats_then_the_oldest() {
        let entries: [(u64, &str, u64, bool); 8] = [
            (1, "old", 1, false),
            (2, "over", 1, false),
            (3, "told", 2, false),
            (4, "told", 3, true),
            (5, "over", 2, true),
            (6, "again", 1, false),
            (7, "again", 2, false),
            (8, "new", 1, false),
        ];
        let left = |messages| {
            let mut queue = queue(&entries);
            queue.make_room(Room { messages, bytes: 1000 }, Some(1));
            queue.entries.keys().copied().collect::<Vec<_>>()
        };
        assert_eq!(left(8).len(), 8);
        assert_eq!(left(6), [1, 3, 4, 6, 7, 8]);
        assert_eq!(left(5), [1, 3, 4, 7, 8]);
        assert_eq!(left(3), [1, 7, 8], "what is being tried stays");
    }

    #[test]
    fn bytes_count_too() {
        let mut queue = queue(&[(1, "a", 1, false), (2, "b", 1, false), (3, "c", 1, false)]);
        assert_eq!(queue.make_room(Room { messages: 100, bytes: 25 }, None).len(), 1);
        assert_eq!(queue.bytes, 20);
    }
}
