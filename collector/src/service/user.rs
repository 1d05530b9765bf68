//! Which user a sensor goes on as.

use crate::usage::Usage;
use anyhow::{Context, bail};
use nix::unistd::User;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};

/// Who is looked for if nobody was named.
const DEFAULT: &str = "xdpwatch";

/// A user of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Login name.
    pub name: String,
    /// User number.
    pub uid: Uid,
    /// Number of the user's own group.
    pub gid: Gid,
}

/// Whom to become; none to stay who it is.
///
/// # Errors
/// There is no such user, or only root could become one.
pub fn choose(asked: Option<&str>) -> anyhow::Result<Option<Person>> {
    let is_root = may_change();
    match asked {
        Some("root" | "none") => Ok(None),
        None if is_root => look_up(DEFAULT),
        None => Ok(None),
        Some(name) => {
            let Some(person) = look_up(name)? else {
                bail!(Usage(format!(
                    "--user {name}: there is no such user; make one with `useradd --system \
                     --no-create-home {name}`, or say --user root"
                )));
            };
            if person.uid == geteuid() {
                return Ok(None);
            }
            if !is_root {
                bail!("--user {name}: only root can become another user; start it as root");
            }
            Ok(Some(person))
        }
    }
}

/// The name of whom it runs as, or the number where that has none.
pub fn current() -> String {
    let uid = geteuid();
    let user = User::from_uid(uid.as_raw().into()).ok().flatten();
    user.map_or_else(|| format!("user {}", uid.as_raw()), |user| user.name)
}

/// Whether it may become another user; root in a container often may not.
fn may_change() -> bool {
    let both = CapabilitySet::SETUID | CapabilitySet::SETGID;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(both))
}

fn look_up(name: &str) -> anyhow::Result<Option<Person>> {
    let user = User::from_name(name).with_context(|| format!("looking for the user {name}"))?;
    Ok(user.map(|user| Person {
        name: user.name,
        uid: Uid::from_raw(user.uid.as_raw()),
        gid: Gid::from_raw(user.gid.as_raw()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_found_and_strangers_are_refused_with_the_cure() {
        assert_eq!(choose(Some("none")).unwrap(), None);
        assert_eq!(choose(Some("root")).unwrap(), None);
        let error = choose(Some("no-such-user-x")).unwrap_err().to_string();
        assert!(error.contains("useradd --system --no-create-home no-such-user-x"), "{error}");
        let found = choose(Some("nobody"));
        if may_change() {
            assert!(!found.unwrap().unwrap().uid.is_root());
        } else {
            assert!(found.is_err() || current() == "nobody");
        }
    }
}
