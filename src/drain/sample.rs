//! Taking a look: asks the kernel, or reads /proc where the kernel does not answer, and enters what
//! it sees among the connections. Opens its one descriptor at the first look, so that an idle adieu
//! holds none.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Error};
use std::net::SocketAddr;
use std::time::Duration;

use super::connections::{Connections, LookTotals};
use super::evidence::{Patience, judge_outbound};
use super::let_go::ShutConnection;
use super::listeners::Listeners;
use super::owners;
use super::readers::{Readers, Reading};
use crate::moment::Moment;
use crate::process::Pid;
use crate::sys::sock_diag::{Ports, SockDiag};
use crate::sys::tcp::{Connection, Family, Listener, NO_UID, SocketId, UnixSocket};
use crate::sys::{self, proc, proc_net};

/// How many busy connections are asked for one by one, at some 10 us each.
const FEW: usize = 256;

/// How sockets are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// sock_diag, or /proc/PID/net where the kernel does not answer.
    SockDiag,
    /// /proc/PID/net alone.
    ProcNet,
}

/// What one look has seen.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Sampled {
    pub tally: LookTotals,
    /// Connections of unix sockets in flight, accepted or not.
    pub unix: usize,
    /// Queries to other services, not yet answered.
    pub outbound: usize,
    /// The app listens on a socket that is watched.
    pub listens: bool,
    /// More listeners may be the app's.
    pub incomplete: bool,
}

enum Source {
    Closed,
    SockDiag(SockDiag),
    ProcNet,
}

pub(super) struct Sampler {
    app: Pid,
    patience: Patience,
    /// `--drain-outbound`.
    remote_ports: Vec<u16>,
    via: Via,
    source: Source,
    listeners: Listeners,
    connections: Connections,
    readers: Readers,
    /// Those found busy, if they are few.
    busy: Vec<SocketId>,
    underway: Option<LookUnderway>,
    last: Sampled,
}

/// A look that was begun. What is there to be seen may be taken in over several turns.
struct LookUnderway {
    listeners: Vec<Listener>,
    unix_listeners: Vec<UnixSocket>,
    ports: Vec<u16>,
    /// Families whose connections are still to be asked for, and the one that has been asked for.
    left: Vec<Family>,
    asked: Option<Family>,
}

impl Sampler {
    pub(super) fn new(
        app: Pid,
        listeners: Listeners,
        patience: Patience,
        remote_ports: &[u16],
        via: Via,
    ) -> Sampler {
        Sampler {
            app,
            patience,
            remote_ports: remote_ports.to_vec(),
            via,
            source: Source::Closed,
            listeners,
            connections: Connections::new(patience),
            readers: Readers::default(),
            busy: vec![],
            underway: None,
            last: Sampled::default(),
        }
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// How many busy connections can be asked for one by one; None if there are none, or too many.
    pub(super) fn few_busy(&self) -> Option<u32> {
        let few =
            !self.busy.is_empty() && self.busy.len() <= FEW && self.last.outbound == 0 && self.last.unix == 0;
        few.then_some(self.busy.len() as u32)
    }

    /// Looks at everything, for so much processor time at once and a little more. None when it is
    /// to be called again for the rest.
    ///
    /// Errors: no descriptor left, or no answer from the kernel nor /proc.
    pub(super) fn look(&mut self, now: Moment, piece: Duration) -> io::Result<Option<&Sampled>> {
        // Taken out, so that it is closed if anything goes wrong.
        let mut source = std::mem::replace(&mut self.source, Source::Closed);
        if let Source::Closed = source {
            source = self.open()?;
        }
        // Taken out for the same reason.
        let underway = self.underway.take();
        if underway.is_none() {
            self.connections.begin_look();
            self.busy.clear();
        }
        let seen = match &mut source {
            Source::SockDiag(sock_diag) => match self.ask_kernel(sock_diag, underway, now, piece) {
                Err(error) if is_missing(&error) => {
                    self.fall_back(&error);
                    source = Source::ProcNet;
                    Some(self.read_proc_net(now)?)
                }
                seen => seen?,
            },
            Source::ProcNet => Some(self.read_proc_net(now)?),
            Source::Closed => Some(Sampled::default()),
        };
        let Some(seen) = seen else {
            self.source = source;
            return Ok(None);
        };
        self.last = seen;
        self.connections.remove_unseen();
        self.source = source;
        if self.connections.has_doubts() {
            let app = self.app;
            let connections = self.connections.iter().count();
            self.readers.go_on(now, connections, || owners::pids(app));
        }
        Ok(Some(&self.last))
    }

    /// Looks again at those connections only that the last look found busy.
    pub(super) fn ask_busy(&mut self, now: Moment) -> io::Result<&Sampled> {
        let Source::SockDiag(sock_diag) = &mut self.source else {
            return Ok(&self.last);
        };
        let mut still = vec![];
        for id in self.busy.drain(..) {
            match sock_diag.ask(&id)? {
                Some(connection) => {
                    let reading = self.readers.of(now, &connection);
                    if self.connections.enter(now, &connection, reading) {
                        still.push(id);
                    }
                }
                None => self.connections.remove(id.cookie),
            }
        }
        self.busy = still;
        self.last.tally = self.connections.tally_busy(now);
        Ok(&self.last)
    }

    /// A connection was shut by us.
    pub(super) fn was_shut(&mut self, shut: &ShutConnection) {
        self.connections.was_shut(shut);
    }

    /// Connections from this address are not counted.
    pub(super) fn leave_out(&mut self, caller: SocketAddr) {
        self.listeners.leave_out(caller);
    }

    /// When looking for the owners of listeners goes on, if it is not over.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.listeners.deadline()
    }

    /// Looks further for the owners of listeners, if it is time.
    pub(super) fn step(&mut self, now: Moment) {
        self.listeners.step(now);
    }

    /// Closes the descriptors; what is known stays known.
    pub(super) fn close(&mut self) {
        self.source = Source::Closed;
        self.underway = None;
        self.listeners.close();
    }

    /// Forgets all connections.
    pub(super) fn forget(&mut self) {
        self.connections = Connections::new(self.patience);
        self.busy.clear();
        if self.underway.take().is_some() {
            // The kernel still answers, and takes no other question meanwhile.
            self.source = Source::Closed;
        }
    }

    fn open(&mut self) -> io::Result<Source> {
        if self.via == Via::ProcNet || proc::is_in_another_network(self.app) {
            return Ok(Source::ProcNet);
        }
        match SockDiag::open() {
            Ok(sock_diag) => Ok(Source::SockDiag(sock_diag)),
            Err(error) if is_missing(&error) => {
                self.fall_back(&error);
                Ok(Source::ProcNet)
            }
            Err(error) => Err(error),
        }
    }

    fn fall_back(&mut self, error: &Error) {
        log::info!(
            "drain: no sock_diag ({}): every open connection counts as in flight",
            sys::describe(error)
        );
        self.via = Via::ProcNet;
    }

    /// Begins with what is under way, or anew. None when there is more.
    fn ask_kernel(
        &mut self,
        sock_diag: &mut SockDiag,
        underway: Option<LookUnderway>,
        now: Moment,
        piece: Duration,
    ) -> io::Result<Option<Sampled>> {
        let begun = sys::processor_time();
        let mut underway = match underway {
            Some(underway) => underway,
            None => self.begin(sock_diag, now)?,
        };
        while let Some(family) = underway.asked.or_else(|| underway.left.pop()) {
            if underway.asked.is_none() {
                sock_diag.begin_connections(family, Ports::Local(&underway.ports))?;
            }
            let rest = piece.saturating_sub(sys::processor_time().saturating_sub(begun));
            let all = sock_diag.take_connections(family, rest, |connection| self.enter(now, &connection))?;
            underway.asked = (!all).then_some(family);
            if !all {
                self.underway = Some(underway);
                return Ok(None);
            }
        }
        let LookUnderway { listeners, unix_listeners, .. } = underway;
        let asking = self.outbound(sock_diag)?;
        let unix = if self.listeners.has_unix() { if_there(sock_diag.unix(false))? } else { vec![] };
        let unix: Vec<UnixSocket> =
            unix.into_iter().filter(|socket| self.listeners.contains_name(&socket.name)).collect();
        self.find_owned(now, &asking, &unix)?;
        let unix_backlog = unix_listeners.iter().filter(|socket| self.listeners.contains_name(&socket.name));
        let unix_backlog: usize = unix_backlog.map(|socket| socket.unread as usize).sum();
        Ok(Some(Sampled {
            tally: self.tally(now, &listeners),
            unix: unix_backlog.saturating_add(self.count_unix(&unix)),
            outbound: self.count_owned(&asking),
            listens: self.listeners.has_any(),
            incomplete: !self.listeners.are_known(),
        }))
    }

    fn begin(&mut self, sock_diag: &mut SockDiag, now: Moment) -> io::Result<LookUnderway> {
        let listeners = sock_diag.listeners()?;
        // A kernel may lack unix_diag alone.
        let unix_listeners = if self.listeners.is_fixed() { vec![] } else { if_there(sock_diag.unix(true))? };
        self.listeners.update(now, &listeners, &unix_listeners)?;
        let ports = self.listeners.ports();
        let left = if ports.is_empty() { vec![] } else { self.listeners.families() };
        Ok(LookUnderway { listeners, unix_listeners, ports, left, asked: None })
    }

    fn enter(&mut self, now: Moment, connection: &Connection) {
        let id = &connection.id;
        if !self.listeners.contains(id.local.ip(), id.local.port()) || self.listeners.is_left_out(id.remote) {
            return;
        }
        let reading = self.readers.of(now, connection);
        let in_flight = self.connections.enter(now, connection, reading);
        // One more than the limit shows that there are too many.
        if in_flight && self.busy.len() <= FEW {
            self.busy.push(connection.id);
        }
    }

    /// Connections to the ports of `--drain-outbound` that await an answer, of any process; their
    /// uids by inode.
    fn outbound(&self, sock_diag: &mut SockDiag) -> io::Result<HashMap<u32, u32>> {
        let mut asking = HashMap::new();
        if self.remote_ports.is_empty() {
            return Ok(asking);
        }
        for family in Family::BOTH {
            sock_diag.connections(family, Ports::Remote(&self.remote_ports), |connection| {
                if connection.inode != 0 && judge_outbound(&connection.sample, &self.patience).in_flight() {
                    asking.insert(connection.inode, connection.uid);
                }
            })?;
        }
        Ok(asking)
    }

    fn find_owned(&mut self, now: Moment, asking: &HashMap<u32, u32>, unix: &[UnixSocket]) -> io::Result<()> {
        let peers = unix.iter().filter_map(|socket| Some((socket.peer?, NO_UID)));
        let sockets = asking.iter().map(|(inode, uid)| (*inode, *uid)).chain(peers).collect();
        self.listeners.find_owned(now, &sockets)
    }

    fn count_owned(&self, asking: &HashMap<u32, u32>) -> usize {
        asking.keys().filter(|inode| self.listeners.is_owned(**inode) != Some(false)).count()
    }

    /// Counts the unix connections in flight, without those that the app has with itself. These
    /// sockets have queues but no clocks, so an open one may wait for its answer. Without a peer no
    /// client can get one.
    fn count_unix(&self, sockets: &[UnixSocket]) -> usize {
        let within = |socket: &&UnixSocket| {
            socket.peer.is_some_and(|peer| self.listeners.is_owned(peer) == Some(true))
        };
        let accepted = sockets.iter().filter(|socket| socket.inode != 0 && !within(socket));
        accepted.filter(|socket| socket.unread > 0 || socket.peer.is_some()).count()
    }

    /// Sums up. Where an accept queue is longer than what the dump showed in flight, the queue
    /// counts.
    fn tally(&mut self, now: Moment, listeners: &[Listener]) -> LookTotals {
        let mut tally = self.connections.tally(now);
        let mut backlog: BTreeMap<u16, usize> = BTreeMap::new();
        let ours = |listener: &&Listener| self.listeners.contains(listener.addr, listener.port);
        for listener in listeners.iter().filter(ours) {
            let queued = backlog.entry(listener.port).or_default();
            *queued = queued.saturating_add(listener.backlog as usize);
        }
        for (port, queued) in backlog {
            let shown = tally.in_flight.get(&port).copied().unwrap_or(0);
            // Not added: some may have been accepted between the two dumps.
            if queued > shown {
                tally.in_flight.insert(port, queued);
                tally.traffic.urgent = tally.traffic.urgent.saturating_add(queued.saturating_sub(shown));
            }
        }
        tally
    }

    fn read_proc_net(&mut self, now: Moment) -> io::Result<Sampled> {
        let (listeners, connections) = proc_net::read(self.app)?;
        self.listeners.update(now, &listeners, &[])?;
        let mut asking = HashMap::new();
        for connection in &connections {
            let id = &connection.id;
            if self.listeners.contains(id.local.ip(), id.local.port()) {
                self.connections.enter(now, connection, Reading::Unknown);
            } else if self.remote_ports.contains(&id.remote.port())
                && connection.inode != 0
                && connection.sample.unsent > 0
            {
                // Without tcp_info an idle connection of a pool looks like a waiting one: only
                // unsent data counts.
                asking.insert(connection.inode, connection.uid);
            }
        }
        self.find_owned(now, &asking, &[])?;
        Ok(Sampled {
            tally: self.tally(now, &listeners),
            unix: 0,
            outbound: self.count_owned(&asking),
            listens: self.listeners.has_any(),
            incomplete: !self.listeners.are_known(),
        })
    }
}

/// Whether the kernel lacks sock_diag or refuses it, rather than failing for a moment.
fn is_missing(error: &Error) -> bool {
    !sys::is_passing(error)
}

/// Empty where the kernel does not have it.
fn if_there<T: Default>(found: io::Result<T>) -> io::Result<T> {
    match found {
        Err(error) if is_missing(&error) => Ok(T::default()),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn a_look_in_pieces_sees_every_connection_once() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = socket.local_addr().unwrap();
        // More than one answer of the kernel holds.
        let open: Vec<_> =
            (0..300).map(|_| (TcpStream::connect(addr).unwrap(), socket.accept().unwrap())).collect();
        let second = Duration::from_secs(1);
        let patience = Patience { quiet: second, longest: second };
        let own = sys::own_pid();
        let listeners = Listeners::new(own, &[], &[addr.port()]);
        let mut sampler = Sampler::new(own, listeners, patience, &[], Via::SockDiag);
        for _ in 0..2 {
            let mut pieces = 1;
            let seen = loop {
                match sampler.look(Moment::START, Duration::ZERO).unwrap() {
                    Some(seen) => break seen.clone(),
                    None => pieces += 1,
                }
            };
            assert!(pieces > 1);
            assert_eq!(seen.tally.connections, open.len());
        }
        for give_up in [Sampler::close, Sampler::forget] {
            assert!(sampler.look(Moment::START, Duration::ZERO).unwrap().is_none());
            give_up(&mut sampler);
        }
        let seen = sampler.look(Moment::START, Duration::MAX).unwrap().unwrap();
        assert_eq!(seen.tally.connections, open.len(), "begun anew");
    }
}
