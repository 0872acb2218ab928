//! Whom a manifest wants its app to run as, looked up on this machine.

use std::str::FromStr;

use nix::unistd::{Gid, Group, Uid, User, geteuid};

/// A user and group that the app can be started as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The user of `USER` or `USER:GROUP`, by names or numbers.
///
/// # Errors
/// Why nothing can be started as that user here.
pub(crate) fn find(text: &str) -> Result<RunAs, String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let account = match u32::from_str(user) {
        Ok(uid) => User::from_uid(Uid::from_raw(uid))
            .ok()
            .flatten()
            .map_or((uid, None), |user| (uid, Some(user.gid.as_raw()))),
        Err(_) => {
            let user = User::from_name(user).ok().flatten().ok_or("there is no such user here")?;
            (user.uid.as_raw(), Some(user.gid.as_raw()))
        }
    };
    let gid = match group {
        // A user that is only a number has the group of root, as with the engines.
        None => account.1.unwrap_or(0),
        Some(group) => match u32::from_str(group) {
            Ok(gid) => gid,
            Err(_) => {
                let group = Group::from_name(group).ok().flatten();
                group.ok_or("there is no such group here")?.gid.as_raw()
            }
        },
    };
    let run_as = RunAs { uid: account.0, gid };
    let own = RunAs { uid: geteuid().as_raw(), gid: Gid::effective().as_raw() };
    if geteuid().is_root() || run_as == own {
        Ok(run_as)
    } else {
        Err("only root can change the user".into())
    }
}
