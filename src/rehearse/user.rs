//! Looks up the user that a manifest names for its app.

use std::str::FromStr;

use nix::unistd::{Gid, Group, Uid, User, geteuid};

/// The user and group that the app starts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Finds `USER` or `USER:GROUP`, by names or numbers.
///
/// # Errors
/// The reason why no process can start as that user here.
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
        // A number without an account gets group 0, as container engines do it.
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
