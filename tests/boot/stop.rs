//! A stop: what is under way is answered. And what of all this is in the journal.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};

use crate::machine::Machine;

/// Queries under way when phzd is told to stop.
const QUERIES: u16 = 200;

/// A query for a name that nobody asked for before.
fn query(id: u16) -> Vec<u8> {
    let mut octets = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    octets[..2].copy_from_slice(&id.to_be_bytes());
    for label in [format!("n{id}").as_str(), "fresh", "example", "com"] {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.as_bytes());
    }
    octets.extend([0, 0, 1, 0, 1]);
    octets
}

#[test]
fn what_is_under_way_when_it_is_stopped_is_answered() {
    let machine = Machine::serving();
    let server: SocketAddr = "127.0.0.1:53".parse().unwrap();
    // The resolver stands still, so that queries are under way for as long as that.
    machine.run_well("systemctl kill --signal=STOP vpc-resolver.service");
    let (answered, took) = machine.inside(|| {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        for id in 0..QUERIES {
            client.send_to(&query(id), server).unwrap();
        }
        thread::sleep(Duration::from_millis(200));
        thread::scope(|scope| {
            let stopping = scope.spawn(|| {
                let begin = Instant::now();
                machine.run_well("systemctl stop phzd.service");
                begin.elapsed()
            });
            thread::sleep(Duration::from_millis(400));
            machine.run_well("systemctl kill --signal=CONT vpc-resolver.service");
            let mut answered = 0;
            let mut reply = [0; 512];
            while answered < QUERIES {
                let Ok((length, _)) = client.recv_from(&mut reply) else { break };
                let reply = Message::from_vec(&reply[..length]).unwrap();
                assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 1));
                answered += 1;
            }
            (answered, stopping.join().unwrap())
        })
    });
    println!("  = {QUERIES} queries under way, {answered} answered; the stop took {took:.3?}");
    assert_eq!(answered, QUERIES);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.property("ExecMainStatus"), "0");
}

/// What the journal has of phzd's own process: line by line, all fields.
fn journal(machine: &Machine) -> Vec<serde_json::Value> {
    let said = machine.run_unseen("journalctl --no-pager --output json --unit phzd.service _COMM=phzd").text;
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_journal_has_what_it_says_with_fields() {
    let machine = Machine::serving();
    machine.configure("[server]\nlisten = [\"nowhere\"]\n");
    assert_ne!(machine.run("systemctl reload phzd.service").code, 0);
    let lines = journal(&machine);
    let line = |begin: &str| {
        let found = lines.iter().find(|line| line["MESSAGE"].as_str().is_some_and(|said| said.starts_with(begin)));
        found.unwrap_or_else(|| panic!("no line begins with {begin:?}: {lines:#?}"))
    };
    let serving = line("serving");
    println!("    {serving:#}");
    assert!(serving["PHZD_ADDRESSES"].as_str().unwrap().contains("127.0.0.1:53"));
    assert!(serving["PHZD_RESOLVERS"].as_str().unwrap().contains("172.31.0.2:53"));
    assert_eq!((&serving["PRIORITY"], &serving["SYSLOG_IDENTIFIER"]), (&"6".into(), &"phzd".into()), "info");
    assert_eq!(line("not reloaded")["PRIORITY"], "3", "an error");
    let errors = machine.run_well("journalctl --no-pager --priority err --unit phzd.service");
    assert!(errors.contains("not reloaded"), "{errors}");
}
