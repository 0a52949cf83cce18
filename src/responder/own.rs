//! What phzd says of its own accord: to whom it does not serve, and of what cannot be had.

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use super::{Account, Hall, Pending, Written};
use crate::metrics::Fate;
use crate::wire::answer::{Answer, ExtendedError, Placement};
use crate::wire::query::{Decoded, Folded, decode, error_header, rcode};

/// For a client that may not ask. Made once: whoever sends us a flood of what is refused costs no memory.
pub(super) fn prohibited() -> &'static Answer {
    static ANSWER: LazyLock<Answer> = LazyLock::new(|| {
        Answer::error(rcode::REFUSED, ExtendedError::new(ExtendedError::PROHIBITED, "this client may not ask"))
    });
    &ANSWER
}

/// For a query that finds no place to wait. Made once, for the same reason.
fn overloaded() -> &'static Answer {
    static ANSWER: LazyLock<Answer> = LazyLock::new(|| {
        Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::OTHER, "too many queries are waiting"))
    });
    &ANSWER
}

/// For a query on a connection whose client does not read. Made once, for the same reason.
fn unread() -> &'static Answer {
    static ANSWER: LazyLock<Answer> = LazyLock::new(|| {
        Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::OTHER, "too much is left unread"))
    });
    &ANSWER
}

/// For a probe of ours that came back.
pub(super) fn looping() -> &'static Answer {
    static ANSWER: LazyLock<Answer> =
        LazyLock::new(|| Answer::error(rcode::REFUSED, ExtendedError::new(ExtendedError::OTHER, "a forwarding loop")));
    &ANSWER
}

/// For a chain of CNAMEs and an answer that do not fit into one message.
pub(super) fn too_long() -> Answer {
    Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::OTHER, "the answer is too long for a message"))
}

/// For a chain of CNAMEs that is too long or goes round. Made once: whoever owns a public name can have it asked for.
pub(super) fn endless() -> &'static Answer {
    static ANSWER: LazyLock<Answer> = LazyLock::new(|| {
        Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::OTHER, "the chain of CNAMEs has no end"))
    });
    &ANSWER
}

impl Hall<'_> {
    /// Writes SERVFAIL for a query that cannot wait because too many do already; returns its length.
    pub fn overloaded(&mut self, pending: &Pending, out: &mut [u8]) -> usize {
        self.counts.overloaded.add(1);
        self.turn_away(pending, overloaded(), out)
    }

    /// Writes SERVFAIL for a query of a client that leaves too many replies unread; returns its length.
    pub fn unread(&mut self, pending: &Pending, out: &mut [u8]) -> usize {
        self.counts.tcp_unread.add(1);
        self.turn_away(pending, unread(), out)
    }

    fn turn_away(&mut self, pending: &Pending, answer: &Answer, out: &mut [u8]) -> usize {
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(&pending.packet, &mut folded) else { return 0 };
        let account = Account::new(pending.client, pending.transport, pending.since);
        account.met(Fate::Forwarded);
        let written = self.write(&query, &account, answer, Placement::FRESH, out);
        self.turned_away(&account, &query);
        written.map_or(0, NonZeroUsize::get)
    }
}

/// Writes a reply to a packet that is no query one could read.
pub(super) fn unreadable(packet: &[u8], code: u16, account: &Account, out: &mut [u8]) -> Written {
    account.met(Fate::Malformed);
    let written = NonZeroUsize::new(error_header(packet, code, out))?;
    account.code.set(Some(code));
    Some(written)
}
