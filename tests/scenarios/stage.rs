//! What a scenario is played on: the outside of phzd as the player sees it, whatever phzd it is the outside of.

use std::net::SocketAddr;
use std::time::Duration;

use super::echo::Query;
use super::file::Step;
use super::notation::Told;

/// The outside of phzd: it takes what the player does there, and tells what comes of it.
pub trait Stage {
    /// A client sends its query.
    fn ask(&mut self, query: &Query) -> Told<()>;

    /// Something comes back for a question that a resolver was asked.
    fn comes_back(&mut self, asked: &Asked, what: Comes<'_>) -> Told<()>;

    /// Time passes.
    fn wait(&mut self, time: Duration) -> Told<()>;

    /// Another configuration serves. What looking around sends then is not left out.
    fn reload(&mut self, config: &str) -> Told<()>;

    /// The resolvers are sent a random name each, as at every start and reload, if that has not been done by itself.
    fn look_around(&mut self) -> Told<()>;

    /// What has come of it all since this was called last, in order. `patiently`: there must be something, though it
    /// may take its time.
    fn events(&mut self, patiently: bool) -> Told<Vec<Event>>;

    /// The address of one of phzd's own sockets towards this resolver.
    fn own_socket(&self, towards: SocketAddr) -> Option<SocketAddr>;

    /// This client's query gets nothing, the scenario says.
    fn is_dropped(&mut self, client: SocketAddr) -> Told<()>;

    /// Plays a step that is about what happens within phzd.
    fn within(&mut self, step: &Step) -> Told<()>;

    /// Whether the scenario has mentioned all that happened within.
    fn nothing_within(&self) -> Told<()>;
}

/// What happened outside of phzd.
pub enum Event {
    /// A resolver was asked something.
    Asked(Asked),
    /// A client got its reply; nothing, if the query is known to have been dropped.
    Replied(Query, Option<Vec<u8>>),
}

/// A question that a resolver was asked.
pub struct Asked {
    pub resolver: SocketAddr,
    pub message: Vec<u8>,
    pub by: By,
}

/// How it came, and where what comes back has to go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum By {
    /// From this address of phzd's.
    Udp(SocketAddr),
    /// Over the connection of this number.
    Tcp(usize),
}

/// What may come back.
pub enum Comes<'a> {
    Message(&'a [u8]),
    /// ICMP says that nobody listens there.
    Unreachable,
    /// The connection ends.
    Closed,
}
