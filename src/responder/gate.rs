//! The gate before the hall: who is no client, and whose queries or replies are too many (see [`crate::limits`]).
//!
//! Apart from the way itself, which is read without it.

use std::num::NonZeroUsize;

use super::{Account, Hall, TRUNCATED, Written};
use crate::limits::TooMany;
use crate::metrics::Fate;
use crate::wire::answer::{Answer, Placement};
use crate::wire::query::{Decoded, Folded, MIN_UDP, Query, Transport, decode_aside, rcode};

/// Ports from which no client asks, and where a reply could begin a conversation without end: whoever sits there replies to
/// anything, and a packet whose source was forged would set it on us. Echo, daytime, quote of the day, character
/// generator and time (RFC 862 to 868) do so by design, old servers for Kerberos passwords by mistake (CVE-2002-2443), and
/// another name server may take an error for a query. Clients ask from random ports (RFC 5452 section 9.2). A port of 0
/// cannot be replied to.
const NO_CLIENTS: [u16; 8] = [0, 7, 13, 17, 19, 37, 53, 464];

/// The highest of them: most ports are past it, and need no further look.
const LAST: u16 = 464;

impl Hall<'_> {
    /// Whether a packet's story ends before it is read, and how.
    #[inline]
    pub(super) fn gate(&mut self, packet: &[u8], account: &Account, out: &mut [u8]) -> Option<Written> {
        let (client, terms) = (account.client, self.policy.limits());
        if account.transport == Transport::Tcp && client.port() > 0 {
            self.limits.came_over_tcp(terms, client.ip(), account.now);
            return None;
        }
        let is_no_client = client.port() <= LAST && NO_CLIENTS.contains(&client.port());
        // A socket of our own would have us ask ourselves for ever.
        if is_no_client || self.upstream.loops.is_ours(client) {
            return Some(self.over(account, None, None));
        }
        let too_many = self.limits.query(terms, client.ip(), account.now, self.clock)?;
        Some(self.too_many(too_many, packet, account, out))
    }

    /// What becomes of a query that is one too many of its client.
    #[cold]
    fn too_many(&self, verdict: TooMany, packet: &[u8], account: &Account, out: &mut [u8]) -> Written {
        account.met(Fate::Limited);
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode_aside(packet, &mut folded) else { return self.over(account, None, None) };
        let who = self.policy.clients().identify(account.client.ip());
        who.into_iter().for_each(|who| account.subnet.set(self.policy.counted_under(who)));
        // Whoever may not ask would come over TCP in vain.
        let slips = verdict == TooMany::Truncate && who.is_some();
        self.counts.slipped.add(slips.into());
        let written = slips.then(|| self.over_tcp(&query, account, rcode::NOERROR, out)).flatten();
        self.over(account, Some(&query), written)
    }

    /// Whether a reply of `length` octets is more than may be sent to an address that may be forged.
    #[inline]
    pub(super) fn is_too_large(&self, query: &Query<'_>, account: &Account, length: usize) -> bool {
        let udp = account.transport == Transport::Udp;
        udp && !self.limits.reply(self.policy.limits(), account.client.ip(), (query.octets(), length), account.now)
    }

    /// Writes a reply without records, no larger than its query, that has whoever did ask come over TCP.
    #[cold]
    pub(super) fn over_tcp(&self, query: &Query<'_>, account: &Account, code: u16, out: &mut [u8]) -> Written {
        let length = Answer::empty(code).write(query, Placement::FRESH, MIN_UDP, out);
        let written = NonZeroUsize::new(length)?;
        if let Some(flags) = out.get_mut(2) {
            *flags |= TRUNCATED;
        }
        account.code.set(Some(code));
        self.counts.truncated.add(1);
        Some(written)
    }
}
