//! What phzd says of its own accord: to whom it does not serve, and of what cannot be had.

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use super::{Account, Written};
use crate::metrics::Fate;
use crate::wire::answer::{Answer, ExtendedError};
use crate::wire::query::{error_header, rcode};

/// For a client that may not ask. Made once: whoever sends us a flood of what is refused costs no memory.
pub(super) fn prohibited() -> &'static Answer {
    static ANSWER: LazyLock<Answer> = LazyLock::new(|| {
        Answer::error(rcode::REFUSED, ExtendedError::new(ExtendedError::PROHIBITED, "this client may not ask"))
    });
    &ANSWER
}

/// For a query that finds no place to wait. Made once, for the same reason.
pub(super) fn overloaded() -> &'static Answer {
    static ANSWER: LazyLock<Answer> = LazyLock::new(|| {
        Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::OTHER, "too many queries are waiting"))
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

/// Writes a reply to a packet that is no query one could read.
pub(super) fn unreadable(packet: &[u8], code: u16, account: &Account, out: &mut [u8]) -> Written {
    account.met(Fate::Malformed);
    let written = NonZeroUsize::new(error_header(packet, code, out))?;
    account.code.set(Some(code));
    Some(written)
}
