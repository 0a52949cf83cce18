//! A resolver that knows every name: what misses are forwarded to, and what fills the cache.
//!
//! Any A question gets the one address [`PUBLIC`], any other type an empty answer. It stands on the echo's loop, so it
//! costs little more than the echo and is not what a row of misses measures.

use std::net::Ipv4Addr;

/// The address of every name this resolver is asked for (RFC 5737 section 3).
pub const PUBLIC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// TTL of its answers, in seconds: longer than a run, so that a cached name stays cached.
const TTL: u32 = 3600;

/// Rewrites a query into its reply (RFC 1035 section 4.1); `None` for what is not a query with one question.
pub fn answer(packet: &mut [u8], length: usize) -> Option<usize> {
    let query = packet.get(..length)?;
    let is_query = query.get(2)? & 0x80 == 0;
    let one_question = query.get(4..6)? == [0, 1];
    if !is_query || !one_question {
        return None;
    }
    let question_end = question_end(query)?;
    let is_address = query.get(question_end - 4..question_end)? == [0, 1, 0, 1];
    let has_opt = query.get(10..12)? != [0, 0];

    packet[2] = 0x80 | (packet[2] & 0x01); // QR, and RD as asked
    packet[3] = 0x80; // RA, NOERROR
    packet[6..12].copy_from_slice(&[0, u8::from(is_address), 0, 0, 0, u8::from(has_opt)]);
    let mut end = question_end;
    if is_address {
        end = append(packet, end, &[0xc0, 0x0c, 0, 1, 0, 1])?; // owner: the question's name; A, IN
        end = append(packet, end, &TTL.to_be_bytes())?;
        end = append(packet, end, &[0, 4])?;
        end = append(packet, end, &PUBLIC.octets())?;
    }
    if has_opt {
        end = append(packet, end, &[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0])?; // root, OPT, 1232 octets (RFC 6891)
    }
    Some(end)
}

/// Where the question ends: behind its name, type and class.
pub fn question_end(query: &[u8]) -> Option<usize> {
    let mut at = 12;
    loop {
        match *query.get(at)? {
            0 => return (at + 5 <= query.len()).then_some(at + 5),
            label @ 1..=63 => at += 1 + usize::from(label),
            _ => return None,
        }
    }
}

/// Writes `octets` at `at` and returns where they end.
fn append(packet: &mut [u8], at: usize, octets: &[u8]) -> Option<usize> {
    let end = at + octets.len();
    packet.get_mut(at..end)?.copy_from_slice(octets);
    Some(end)
}
