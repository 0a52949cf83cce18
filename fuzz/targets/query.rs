//! A packet of a client through the whole responder: a house with one of everything, a cache that knows some public names,
//! any client, any time, either transport.

#![no_main]

use std::cell::RefCell;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use phzd::responder::{Outcome, Responder};
use phzd::wire::Transport;
use phzd_fuzz::house::{hall, wish};
use phzd_fuzz::public;
use phzd_fuzz::reply::{FILL, judge};
use phzd_fuzz::story::Story;

/// A hall whose cache is filled, what is written to, and when that was.
struct Asked {
    responder: Responder,
    out: Vec<u8>,
    start: Instant,
}

thread_local! {
    // Nothing that is asked here changes what is kept, but for how much it is used.
    static ASKED: RefCell<Asked> = RefCell::new({
        let (mut responder, upstream) = hall();
        let start = Instant::now();
        public::learn(&mut responder, &upstream, start);
        Asked { responder, out: vec![FILL; 65_535], start }
    });
}

fuzz_target!(|data: &[u8]| {
    let mut story = Story(data);
    let client = story.client();
    let transport = if story.octet() % 2 == 0 { Transport::Udp } else { Transport::Tcp };
    let seconds = Duration::from_millis(u64::from(story.number()) * 2000);
    let packet = story.0;
    ASKED.with_borrow_mut(|Asked { responder, out, start }| {
        let now = *start + seconds;
        // A datagram is not given more room than it could ever need; all of it is looked at afterwards.
        let room = if transport == Transport::Udp { 2048 } else { out.len() };
        let out = &mut out[..room];
        match responder.enter().respond(packet, client, transport, now, out) {
            Outcome::Reply(length) => {
                // What the cache knows is well-formed, and so must be whatever is said here.
                judge(packet, client, transport, (out, length), true);
                out[..length].fill(FILL);
            }
            Outcome::Forward(pending) => {
                let recursion = packet[2] & 0x01 != 0;
                assert!(recursion, "forwarded without RD");
                assert!(
                    !matches!(pending.question.kind, 41 | 249..=254),
                    "type {} is forwarded",
                    pending.question.kind
                );
                assert_eq!((pending.client(), pending.since()), (client, now));
                assert!(pending.deadline > now);
                drop(wish(pending));
            }
            Outcome::Drop => {}
        }
    });
});
