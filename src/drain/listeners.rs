//! Which sockets are the app's. Listeners come and go, and finding their owner takes a walk over
//! /proc. So there is a walk only for new listeners, and now and then for those of others, which
//! may have been handed over. A listener of the app stays the app's: an app may close its listener
//! first and finish its connections after.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::owners::{self, OwnerWalk, Survey};
use crate::moment::Moment;
use crate::process::Pid;
use crate::sys::tcp::{Family, Listener, NO_UID, UnixSocket};

/// How often to look again for the owner of sockets that belonged to others.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How much processor time a piece of a walk may take, and from one piece to the next: signals are
/// taken between them.
const PIECE: Duration = Duration::from_millis(5);
const GO_ON: Duration = Duration::from_millis(10);

/// How often, at most, to look for the owner of the other end of a connection.
const FIND_OWNED: Duration = Duration::from_secs(1);

/// How many connections of our own checks are remembered, since they may still be closing.
const QUESTIONS: usize = 8;

pub(super) struct Listeners {
    app: Pid,
    own_ports: Vec<u16>,
    /// `--drain-port`; then no owner is looked for.
    fixed: Vec<u16>,
    /// Where clients of the app connect to: addresses by port; unspecified means all.
    places: HashMap<u16, Vec<IpAddr>>,
    families: Vec<Family>,
    /// Paths and abstract names of the app's unix listeners.
    names: HashSet<Vec<u8>>,
    /// Listeners by inode: the app's, or another's.
    known: HashMap<u32, bool>,
    asked: Option<Moment>,
    /// The walk that is under way, and when it goes on.
    walk: Option<OwnerWalk>,
    walk_at: Moment,
    /// Connected sockets by inode, likewise.
    owned: HashMap<u32, bool>,
    /// Our own ends of the connections of our checks, the latest last.
    questions: VecDeque<SocketAddr>,
    found_owned: Option<Moment>,
}

impl Listeners {
    pub(super) fn new(app: Pid, own_ports: &[u16], fixed: &[u16]) -> Listeners {
        let addr = |family| match family {
            Family::V4 => IpAddr::from([0; 4]),
            Family::V6 => IpAddr::from([0; 16]),
        };
        Listeners {
            app,
            own_ports: own_ports.to_vec(),
            fixed: fixed.to_vec(),
            places: fixed.iter().map(|port| (*port, Family::BOTH.map(addr).to_vec())).collect(),
            families: if fixed.is_empty() { vec![] } else { Family::BOTH.to_vec() },
            names: HashSet::new(),
            known: HashMap::new(),
            asked: None,
            walk: None,
            walk_at: Moment::START,
            owned: HashMap::new(),
            questions: VecDeque::new(),
            found_owned: None,
        }
    }

    /// The ports were given, so there is no walk over /proc.
    pub(super) fn is_fixed(&self) -> bool {
        !self.fixed.is_empty()
    }

    /// Takes in the listeners of the network namespace. Errors: no descriptor left to look for
    /// their owners.
    pub(super) fn update(
        &mut self,
        now: Moment,
        listeners: &[Listener],
        unix: &[UnixSocket],
    ) -> io::Result<()> {
        if self.is_fixed() {
            return Ok(());
        }
        let inodes =
            || listeners.iter().map(|listener| listener.inode).chain(unix.iter().map(|socket| socket.inode));
        let present: HashSet<u32> = inodes().collect();
        self.known.retain(|inode, _| present.contains(inode));
        // Taken out, so that it begins anew if anything goes wrong.
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => {
                let again = self.asked.is_none_or(|asked| now.since(asked) >= ASK_AGAIN);
                let unknown: HashSet<u32> =
                    present.into_iter().filter(|inode| !self.is_known(*inode, again)).collect();
                if unknown.is_empty() {
                    return Ok(());
                }
                OwnerWalk::begin(self.app, unknown)?
            }
        };
        let is_over = walk.go_on(PIECE)?;
        let known = self.known.iter().filter(|(_, ours)| **ours).map(|(inode, _)| *inode);
        let held: HashSet<u32> = known.chain(walk.survey().held.keys().copied()).collect();
        if is_over {
            self.asked = Some(now);
            self.adopt(listeners, unix, &held, walk.survey());
        } else {
            let found: Vec<Listener> =
                listeners.iter().filter(|listener| held.contains(&listener.inode)).cloned().collect();
            let found_unix: Vec<UnixSocket> =
                unix.iter().filter(|socket| held.contains(&socket.inode)).cloned().collect();
            self.adopt(&found, &found_unix, &held, &Survey::default());
            self.walk = Some(walk);
            self.walk_at = now + GO_ON;
        }
        Ok(())
    }

    /// Whether no listener is new.
    pub(super) fn are_known(&self) -> bool {
        self.walk.as_ref().is_none_or(|walk| walk.wanted().iter().all(|inode| self.known.contains_key(inode)))
    }

    /// When the walk goes on. Its result is taken in by the next look.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.walk.as_ref().filter(|walk| !walk.is_over()).map(|_| self.walk_at)
    }

    /// Goes on with the walk, if it is time.
    pub(super) fn step(&mut self, now: Moment) {
        if self.deadline().is_none_or(|at| now < at) {
            return;
        }
        self.walk_at = now + GO_ON;
        if let Some(walk) = &mut self.walk
            && walk.go_on(PIECE).is_err()
        {
            // The next look begins anew, or says what is wrong.
            self.walk = None;
        }
    }

    /// Closes the walk's descriptor.
    pub(super) fn close(&mut self) {
        self.walk = None;
    }

    fn is_known(&self, inode: u32, again: bool) -> bool {
        match self.known.get(&inode) {
            Some(ours) => *ours || !again,
            None => false,
        }
    }

    fn adopt(&mut self, listeners: &[Listener], unix: &[UnixSocket], held: &HashSet<u32>, survey: &Survey) {
        let ours = owners::ours(listeners, held, survey, &self.own_ports);
        for (listener, ours) in listeners.iter().zip(ours) {
            self.known.insert(listener.inode, ours);
            if ours {
                self.add(listener);
            }
        }
        for socket in unix {
            let ours = held.contains(&socket.inode);
            self.known.insert(socket.inode, ours);
            if ours {
                self.names.insert(socket.name.clone());
            }
        }
    }

    fn add(&mut self, listener: &Listener) {
        if !self.families.contains(&listener.family) {
            self.families.push(listener.family);
        }
        let addrs = self.places.entry(listener.port).or_default();
        if !addrs.contains(&listener.addr) {
            log::debug!("drain: the app listens on {}:{}", listener.addr, listener.port);
            addrs.push(listener.addr);
        }
    }

    /// Families of the app's listeners; a dual-stack listener's IPv4 clients are IPv6 sockets.
    pub(super) fn families(&self) -> Vec<Family> {
        self.families.clone()
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        self.places.keys().copied().collect()
    }

    /// Whether a socket with this local end is one of the app's.
    pub(super) fn contains(&self, addr: IpAddr, port: u16) -> bool {
        let Some(addrs) = self.places.get(&port) else { return false };
        let addr = addr.to_canonical();
        addrs.iter().any(|place| place.is_unspecified() || *place == addr)
    }

    /// Connections from this address are adieu's own.
    pub(super) fn leave_out(&mut self, caller: SocketAddr) {
        if self.questions.back() == Some(&caller) {
            return;
        }
        if self.questions.len() >= QUESTIONS {
            self.questions.pop_front();
        }
        self.questions.push_back(caller);
    }

    pub(super) fn is_left_out(&self, client: SocketAddr) -> bool {
        let addr = client.ip().to_canonical();
        self.questions.iter().any(|own| own.port() == client.port() && own.ip().to_canonical() == addr)
    }

    /// Whether there is any to watch.
    pub(super) fn has_any(&self) -> bool {
        self.has_unix() || !self.places.is_empty()
    }

    pub(super) fn has_unix(&self) -> bool {
        !self.names.is_empty()
    }

    pub(super) fn contains_name(&self, name: &[u8]) -> bool {
        self.names.contains(name)
    }

    /// Finds out which of these connected sockets (inode and uid) a process of the app holds.
    pub(super) fn find_owned(&mut self, now: Moment, sockets: &HashMap<u32, u32>) -> io::Result<()> {
        self.owned.retain(|inode, _| sockets.contains_key(inode));
        let unknown: HashSet<u32> =
            sockets.keys().filter(|inode| !self.owned.contains_key(inode)).copied().collect();
        let recently = self.found_owned.is_some_and(|found| now.since(found) < FIND_OWNED);
        if unknown.is_empty() || recently {
            return Ok(());
        }
        let survey = owners::survey(self.app, &unknown)?;
        self.found_owned = Some(now);
        for inode in unknown {
            let uid = sockets.get(&inode).copied().unwrap_or(NO_UID);
            let hidden = uid != NO_UID && (survey.blind || survey.hidden.contains(&uid));
            self.owned.insert(inode, survey.held.contains_key(&inode) || hidden);
        }
        Ok(())
    }

    /// None while it is unknown.
    pub(super) fn is_owned(&self, inode: u32) -> Option<bool> {
        self.owned.get(&inode).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn told_ports_are_all_there_is() {
        let listeners = Listeners::new(crate::sys::own_pid(), &[], &[80, 81]);
        assert_eq!((listeners.ports().len(), listeners.families().len()), (2, 2));
        assert!(listeners.contains(Ipv4Addr::LOCALHOST.into(), 80));
        assert!(listeners.contains(Ipv6Addr::LOCALHOST.into(), 81));
        assert!(!listeners.contains(Ipv4Addr::LOCALHOST.into(), 82));
    }

    #[test]
    fn an_address_counts_where_the_listener_has_one() {
        let mut listeners = Listeners::new(crate::sys::own_pid(), &[], &[]);
        listeners.places.insert(80, vec![Ipv4Addr::LOCALHOST.into()]);
        assert!(listeners.contains(Ipv4Addr::LOCALHOST.into(), 80));
        assert!(listeners.contains(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), 80));
        assert!(!listeners.contains(Ipv4Addr::new(127, 0, 0, 2).into(), 80), "a neighbour may listen there");
    }

    #[test]
    fn a_listener_of_this_process_is_found_and_kept_when_it_closes() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut sock_diag = crate::sys::sock_diag::SockDiag::open().unwrap();
        let mut listeners = Listeners::new(crate::sys::own_pid(), &[], &[]);
        listeners.update(Moment::at(Duration::ZERO), &sock_diag.listeners().unwrap(), &[]).unwrap();
        assert!(listeners.ports().contains(&port));
        drop(socket);
        listeners.update(Moment::at(Duration::from_secs(9)), &sock_diag.listeners().unwrap(), &[]).unwrap();
        assert!(listeners.contains(Ipv4Addr::LOCALHOST.into(), port));
    }
}
