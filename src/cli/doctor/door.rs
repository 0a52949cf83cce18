//! phzd itself: who has its addresses, and whether it answers there.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::rr::RecordType;
use phzd::config::Config;
use phzd::server::sockets::held;

use super::asking::{asked, list, why};
use super::each;
use super::finding::Finding;
use crate::ask::Way;

const PORT: &str = "port";
const PHZD: &str = "phzd";
/// What the kernel calls phzd, and systemd-resolved.
const OURS: &str = "phzd";
const RESOLVED: &str = "systemd-resolve";

/// What is known of phzd's door.
pub struct Door {
    pub findings: Vec<Finding>,
    /// Where phzd answers.
    pub server: Option<SocketAddr>,
}

/// Who has a listen address.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Phzd(String),
    /// Programs that have it for UDP or TCP, and what is to be done about them.
    Others(Vec<String>, &'static str),
    /// Somebody of another user.
    Unseen,
    Nobody,
}

/// Whether every listen address is phzd's, and phzd answers.
pub fn check(config: &Config) -> Door {
    let listen = &config.server.listen;
    let owners: Vec<Owner> = listen.iter().map(|address| owner(*address)).collect();
    // A question that is answered at once, whoever asks and whatever resolvers do: there are no zone transfers.
    let answers = each(listen, |address| asked(Way::plain(reachable(*address)), ".", RecordType::AXFR));
    let runs = owners.iter().any(|owner| matches!(owner, Owner::Phzd(_)));
    let mut findings: Vec<Finding> =
        listen.iter().zip(&owners).map(|(address, owner)| port(*address, owner, runs)).collect();
    let mine = owners.iter().map(|owner| matches!(owner, Owner::Phzd(_) | Owner::Unseen));
    let mine: Vec<_> = listen.iter().zip(answers).zip(mine).filter(|(_, mine)| *mine).map(|(asked, _)| asked).collect();
    let answering = mine.iter().filter(|(_, answer)| answer.is_ok()).map(|(address, _)| reachable(**address));
    let answering: Vec<_> = answering.collect();
    let silent = mine.iter().find_map(|(address, answer)| Some((address, answer.as_ref().err()?)));
    findings.push(match silent {
        _ if mine.is_empty() => {
            let taken = owners.iter().any(|owner| matches!(owner, Owner::Others(..)));
            let first = if taken { "free its port first, then " } else { "" };
            let remedy = format!("{first}systemctl start phzd; journalctl -u phzd says why it ended");
            Finding::failure(PHZD, list(listen), "does not run: it listens at none of its addresses", remedy)
        }
        Some((address, error)) => {
            let remedy = "journalctl -u phzd says what is wrong with it; systemctl restart phzd";
            Finding::failure(PHZD, address, format!("is there and does not answer: {}", why(error)), remedy)
        }
        None => Finding::ok(PHZD, list(&answering), "answers"),
    });
    Door { findings, server: answering.first().copied() }
}

/// Who has an address, for UDP and for TCP.
fn owner(address: SocketAddr) -> Owner {
    let holders: Vec<_> = ["UDP", "TCP"].into_iter().flat_map(|protocol| held(address, protocol)).collect();
    let programs: Vec<_> = holders.iter().filter_map(|holder| holder.program.as_ref()).collect();
    if let Some(ours) = programs.iter().find(|program| program.name == OURS) {
        return Owner::Phzd(ours.to_string());
    }
    let remedy = if programs.iter().any(|program| program.name == RESOLVED) {
        "write DNSStubListener=no below [Resolve] in /etc/systemd/resolved.conf.d/phzd.conf and restart systemd-resolved, \
         or choose another address in server.listen"
    } else {
        "stop that program (systemctl disable --now …) or choose another address in server.listen"
    };
    let names: BTreeSet<String> = programs.iter().map(ToString::to_string).collect();
    match (holders.is_empty(), names.is_empty()) {
        (true, _) => Owner::Nobody,
        (false, true) => Owner::Unseen,
        (false, false) => Owner::Others(names.into_iter().collect(), remedy),
    }
}

/// What that means; `runs` says that phzd has another address.
fn port(address: SocketAddr, owner: &Owner, runs: bool) -> Finding {
    match owner {
        Owner::Phzd(program) => Finding::ok(PORT, address, format!("{program} has it")),
        Owner::Others(programs, remedy) => {
            Finding::failure(PORT, address, format!("{} has it", list(programs)), *remedy)
        }
        Owner::Unseen => Finding::skipped(PORT, address, "a program of another user has it: root sees which"),
        Owner::Nobody if runs => {
            let remedy = "systemctl restart phzd: an address is opened at the start only";
            Finding::failure(PORT, address, "phzd runs and does not listen here", remedy)
        }
        Owner::Nobody => Finding::ok(PORT, address, "free"),
    }
}

/// Where a program of this host asks whoever listens at `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
