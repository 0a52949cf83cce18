//! A client's octets over TCP, however they are cut: the messages in them are those that stand there, and each reply
//! is framed so that it is found again.

#![no_main]

use std::cell::RefCell;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use phzd::responder::{Outcome, Responder};
use phzd::server::framing::{Frame, append, first};
use phzd::wire::Transport;
use phzd_fuzz::house::hall;
use phzd_fuzz::reply::{FILL, judge};
use phzd_fuzz::story::Story;

thread_local! {
    static HALL: RefCell<(Responder, Vec<u8>, Instant)> = RefCell::new((hall().0, vec![FILL; 65_535], Instant::now()));
}

fuzz_target!(|data: &[u8]| {
    let mut story = Story(data);
    let client = story.client();
    let cuts: Vec<usize> = (0..story.octet() % 16).map(|_| usize::from(story.number() % 2048)).collect();
    let stream = story.0;

    // As a connection does: what has come is kept until it is a message.
    let (mut inbound, mut rest, mut found, mut nonsense) = (Vec::new(), stream, Vec::new(), false);
    for cut in cuts.into_iter().chain([usize::MAX]) {
        let (come, later) = rest.split_at(cut.min(rest.len()));
        inbound.extend_from_slice(come);
        rest = later;
        let mut unread = inbound.as_slice();
        nonsense = loop {
            match first(unread) {
                Frame::Whole(message, behind) => {
                    found.push(message.to_vec());
                    unread = behind;
                }
                pause => break pause == Frame::Nonsense,
            }
        };
        let answered = inbound.len() - unread.len();
        inbound.drain(..answered);
        if nonsense {
            break;
        }
    }

    // The same, counted out.
    let (mut at, mut there) = (0, Vec::new());
    let ends_in_nonsense = loop {
        let Some(length) = stream.get(at..at + 2).map(|two| usize::from(two[0]) << 8 | usize::from(two[1])) else {
            break false;
        };
        if length == 0 {
            break true;
        }
        let Some(message) = stream.get(at + 2..at + 2 + length) else { break false };
        there.push(message);
        at += 2 + length;
    };
    assert_eq!(found, there);
    assert_eq!(nonsense, ends_in_nonsense);
    assert!(inbound.starts_with(&stream[at..][..inbound.len()]));

    HALL.with_borrow_mut(|(responder, out, now)| {
        let (mut outbound, mut replies) = (Vec::new(), Vec::new());
        for message in found {
            if let Outcome::Reply(length) = responder.enter().respond(&message, client, Transport::Tcp, *now, out) {
                judge(&message, client, Transport::Tcp, (out, length), true);
                append(&mut outbound, &out[..length]);
                replies.push(out[..length].to_vec());
                out[..length].fill(FILL);
            }
        }
        let mut unread = outbound.as_slice();
        for reply in replies {
            let Frame::Whole(message, behind) = first(unread) else { panic!("a reply is lost") };
            assert_eq!(message, reply);
            unread = behind;
        }
        assert!(unread.is_empty());
    });
});
