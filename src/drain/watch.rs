//! Taking a look: asks the kernel, or reads /proc where the kernel does not answer, and enters what it sees into the books. Opens
//! its one descriptor at the first look, so that an idle adieu holds none.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Error};
use std::net::SocketAddr;

use netlink_packet_sock_diag::inet::SocketId;
use nix::unistd::Pid;

use super::book::{Book, Tally};
use super::kernel::{Connection, Family, Kernel, Listener, Ports, UnixSocket};
use super::rule::{Limits, judge_outbound};
use super::scope::{NOBODY_KNOWN, Scope};
use super::unix::UnixBook;
use super::{Way, is_passing, procnet};
use crate::lifecycle::Moment;

/// How many busy connections are worth asking one by one, at some 10 us each.
const FEW: usize = 48;

/// What one look has seen.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    pub tally: Tally,
    /// Connections of unix sockets in flight, accepted or not.
    pub unix: usize,
    /// Questions to other services not yet answered.
    pub outbound: usize,
}

enum Eyes {
    Shut,
    Kernel(Kernel),
    Tables,
}

pub struct Watch {
    app: Pid,
    limits: Limits,
    /// `--drain-outbound`.
    remote_ports: Vec<u16>,
    way: Way,
    eyes: Eyes,
    scope: Scope,
    book: Book,
    unix: UnixBook,
    /// Those found busy, if they are few.
    busy: Vec<(Family, SocketId)>,
    last: Seen,
}

impl Watch {
    pub fn new(app: Pid, scope: Scope, limits: Limits, remote_ports: &[u16], way: Way) -> Watch {
        Watch {
            app,
            limits,
            remote_ports: remote_ports.to_vec(),
            way,
            eyes: Eyes::Shut,
            scope,
            book: Book::new(limits),
            unix: UnixBook::new(limits.longest),
            busy: vec![],
            last: Seen::default(),
        }
    }

    /// How many busy connections can be asked one by one; None if there are none, or too many.
    pub fn few_busy(&self) -> Option<u32> {
        let few =
            !self.busy.is_empty() && self.busy.len() <= FEW && self.last.outbound == 0 && self.last.unix == 0;
        few.then_some(self.busy.len() as u32)
    }

    /// Looks at everything. Errors: no descriptor to be had, or neither the kernel nor /proc tells anything.
    pub fn look(&mut self, now: Moment) -> io::Result<&Seen> {
        // Taken out, so that it is shut if anything goes wrong.
        let mut eyes = std::mem::replace(&mut self.eyes, Eyes::Shut);
        if let Eyes::Shut = eyes {
            eyes = self.open()?;
        }
        self.book.turn();
        self.unix.turn();
        self.busy.clear();
        self.last = match &mut eyes {
            Eyes::Kernel(kernel) => match self.ask_kernel(kernel, now) {
                Err(error) if !is_passing(&error) => {
                    self.fall_back(&error);
                    eyes = Eyes::Tables;
                    self.read_tables(now)?
                }
                seen => seen?,
            },
            Eyes::Tables => self.read_tables(now)?,
            Eyes::Shut => Seen::default(),
        };
        self.book.strike_unseen();
        self.unix.strike_unseen();
        self.eyes = eyes;
        Ok(&self.last)
    }

    /// Looks again at those connections that the last look found busy, and at no other.
    pub fn ask_busy(&mut self, now: Moment) -> io::Result<&Seen> {
        let Eyes::Kernel(kernel) = &mut self.eyes else {
            return Ok(&self.last);
        };
        let mut still = vec![];
        for (family, id) in self.busy.drain(..) {
            match kernel.ask(family, &id)? {
                Some(connection) => {
                    if self.book.enter(now, connection.key(), id.source_port, &connection.sample) {
                        still.push((family, id));
                    }
                }
                None => self.book.strike(u64::from_ne_bytes(id.cookie)),
            }
        }
        self.busy = still;
        self.last.tally = self.book.tally(now);
        Ok(&self.last)
    }

    /// Connections from this address are not counted.
    pub fn leave_out(&mut self, caller: SocketAddr) {
        self.scope.leave_out(caller);
    }

    /// Closes the descriptor; what is known stays known.
    pub fn shut(&mut self) {
        self.eyes = Eyes::Shut;
    }

    /// Forgets all connections.
    pub fn forget(&mut self) {
        self.book = Book::new(self.limits);
        self.unix = UnixBook::new(self.limits.longest);
        self.busy.clear();
    }

    fn open(&mut self) -> io::Result<Eyes> {
        if self.way == Way::Tables || lives_elsewhere(self.app) {
            return Ok(Eyes::Tables);
        }
        match Kernel::open() {
            Ok(kernel) => Ok(Eyes::Kernel(kernel)),
            Err(error) if !is_passing(&error) => {
                self.fall_back(&error);
                Ok(Eyes::Tables)
            }
            Err(error) => Err(error),
        }
    }

    fn fall_back(&mut self, error: &Error) {
        log::info!(
            "drain: the kernel does not answer sock_diag ({error}): every open connection counts as in flight"
        );
        self.way = Way::Tables;
    }

    fn ask_kernel(&mut self, kernel: &mut Kernel, now: Moment) -> io::Result<Seen> {
        let listeners = kernel.listeners()?;
        // A kernel may lack unix_diag alone.
        let unix_listeners =
            if self.scope.is_fixed() { vec![] } else { kernel.unix(true).unwrap_or_default() };
        self.scope.update(now, &listeners, &unix_listeners)?;
        let ports = self.scope.ports();
        if !ports.is_empty() {
            let families: Vec<Family> = self.scope.families().collect();
            for family in families {
                kernel.connections(family, Ports::Local(&ports), |connection| self.enter(now, connection))?;
            }
        }
        let asking = self.outbound(kernel)?;
        let unix = if self.scope.has_unix() { kernel.unix(false).unwrap_or_default() } else { vec![] };
        let unix: Vec<UnixSocket> =
            unix.into_iter().filter(|socket| self.scope.contains_name(&socket.name)).collect();
        self.find_kin(now, &asking, &unix)?;
        let unix_backlog = unix_listeners.iter().filter(|socket| self.scope.contains_name(&socket.name));
        let unix_backlog: usize = unix_backlog.map(|socket| socket.unread as usize).sum();
        Ok(Seen {
            tally: self.tally(now, &listeners),
            unix: unix_backlog + self.enter_unix(now, &unix),
            outbound: asking.keys().filter(|inode| self.scope.is_kin(**inode) != Some(false)).count(),
        })
    }

    fn enter(&mut self, now: Moment, connection: Connection) {
        let id = &connection.id;
        if !self.scope.contains(id.source_address, id.source_port)
            || self.scope.is_left_out(id.destination_address, id.destination_port)
        {
            return;
        }
        let in_flight = self.book.enter(now, connection.key(), id.source_port, &connection.sample);
        // One more than few is enough to know that they are not.
        if in_flight && self.busy.len() <= FEW {
            self.busy.push((connection.family, connection.id));
        }
    }

    /// Connections to the ports of `--drain-outbound` that await an answer, whoever they belong to; their users by inode.
    fn outbound(&self, kernel: &mut Kernel) -> io::Result<HashMap<u32, u32>> {
        let mut asking = HashMap::new();
        if self.remote_ports.is_empty() {
            return Ok(asking);
        }
        for family in Family::BOTH {
            kernel.connections(family, Ports::Remote(&self.remote_ports), |connection| {
                if connection.inode != 0 && judge_outbound(&connection.sample, &self.limits).in_flight() {
                    asking.insert(connection.inode, connection.uid);
                }
            })?;
        }
        Ok(asking)
    }

    fn find_kin(&mut self, now: Moment, asking: &HashMap<u32, u32>, unix: &[UnixSocket]) -> io::Result<()> {
        let peers = unix.iter().filter_map(|socket| Some((socket.peer?, NOBODY_KNOWN)));
        let sockets = asking.iter().map(|(inode, uid)| (*inode, *uid)).chain(peers).collect();
        self.scope.find_kin(now, &sockets)
    }

    /// Counts the unix connections in flight, without those that the app has with itself.
    fn enter_unix(&mut self, now: Moment, sockets: &[UnixSocket]) -> usize {
        let (scope, book) = (&self.scope, &mut self.unix);
        let within = |socket: &&UnixSocket| socket.peer.is_some_and(|peer| scope.is_kin(peer) == Some(true));
        let accepted = sockets.iter().filter(|socket| socket.inode != 0 && !within(socket));
        accepted.filter(|socket| book.enter(now, socket)).count()
    }

    /// Sums up; where an accept queue is longer than what the dump showed in flight, the queue is believed.
    fn tally(&mut self, now: Moment, listeners: &[Listener]) -> Tally {
        let mut tally = self.book.tally(now);
        let mut backlog: BTreeMap<u16, usize> = BTreeMap::new();
        for listener in listeners.iter().filter(|listener| self.scope.contains(listener.addr, listener.port))
        {
            *backlog.entry(listener.port).or_default() += listener.backlog as usize;
        }
        for (port, queued) in backlog {
            let shown = tally.in_flight.get(&port).copied().unwrap_or(0);
            // Not added: some may have been accepted between the two dumps.
            if queued > shown {
                tally.in_flight.insert(port, queued);
                tally.traffic.urgent += queued - shown;
            }
        }
        tally
    }

    fn read_tables(&mut self, now: Moment) -> io::Result<Seen> {
        let (listeners, connections) = procnet::read(self.app)?;
        self.scope.update(now, &listeners, &[])?;
        let mut asking = HashMap::new();
        for connection in &connections {
            let (addr, port) = connection.local;
            if self.scope.contains(addr, port) {
                self.book.enter(now, connection.key, port, &connection.sample);
            } else if self.remote_ports.contains(&connection.remote_port)
                && connection.inode != 0
                && connection.sample.unsent > 0
            {
                // Without clocks a pool's idle connection looks like a waiting one: only what is on its way is known.
                asking.insert(connection.inode, connection.uid);
            }
        }
        self.find_kin(now, &asking, &[])?;
        let outbound = asking.keys().filter(|inode| self.scope.is_kin(**inode) != Some(false)).count();
        Ok(Seen { tally: self.tally(now, &listeners), unix: 0, outbound })
    }
}

/// Is the app in another network namespace than we are? Our own sock_diag would show the wrong sockets.
fn lives_elsewhere(app: Pid) -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
    match (namespace("self"), namespace(&app.to_string())) {
        (Ok(ours), Ok(theirs)) => ours != theirs,
        // It may not be read: then the usual is assumed.
        _ => false,
    }
}
