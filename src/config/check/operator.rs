//! What serves the operator: the control socket, the HTTP listener, the query log.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::Judge;
use super::claim::Claim;
use super::network::Ground;
use crate::config::file::{List, Written};
use crate::config::near::nearest;
use crate::config::problem::Problem;
use crate::config::{LogTo, QueryLog, limit};
use crate::metrics::Fate;
use crate::wire::Name;

/// Where the control socket is unless the file says otherwise.
const CONTROL: &str = "/run/phzd/control.sock";
/// Where metrics and health are told unless the file says otherwise.
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9253);
/// The longest path of a unix socket (unix(7)), its final zero left out.
const LONGEST_SOCKET: usize = 107;

impl Judge<'_> {
    /// `server.control`.
    pub(super) fn control(&mut self) -> Option<PathBuf> {
        let Some(text) = &self.file.server.control else { return Some(CONTROL.into()) };
        if text.value.is_empty() {
            return None;
        }
        let path = PathBuf::from(&text.value);
        let problem = if text.value.len() > LONGEST_SOCKET {
            Problem::mistake(text.place.as_ref(), format!("the path of a socket has at most {LONGEST_SOCKET} octets"))
        } else if path.file_name().is_none() || !text.value.contains('/') {
            Problem::mistake(text.place.as_ref(), "control is the path of a socket")
        } else {
            return Some(path);
        };
        self.problems.push(problem.hint(format!("write control = {CONTROL:?}, or \"\" for none")));
        None
    }

    /// `server.http`.
    pub(super) fn http(&mut self) -> Option<SocketAddr> {
        let Some(text) = &self.file.server.http else { return Some(HTTP) };
        if text.value.is_empty() {
            return None;
        }
        let hint = format!("write http = \"{HTTP}\", or \"\" for none");
        let Ok(address) = text.value.parse::<SocketAddr>() else {
            let message = format!("{:?} is no ADDRESS:PORT", text.value);
            self.problems.push(Problem::mistake(text.place.as_ref(), message).hint(hint));
            return None;
        };
        if !address.ip().is_loopback() {
            let message = "whoever reaches this address reads which zones are asked for, and by which subnets";
            let problem = Problem::warning(text.place.as_ref(), message);
            self.problems.push(problem.hint("let a security group admit the scraper alone, or listen on loopback"));
        }
        Some(address)
    }

    /// `[query-log]`.
    pub(super) fn query_log(&mut self, ground: &Ground<'_>, claims: &[Claim]) -> Option<QueryLog> {
        let file = &self.file.query_log;
        let to = match &file.to {
            None => Some(LogTo::Off),
            Some(text) => self.log_to(text),
        };
        let subnets = self.logged_subnets(&file.subnets, ground);
        let zones = self.logged_zones(&file.zones, claims);
        let words = Fate::ALL.map(|fate| (fate.word(), fate));
        let outcomes = file.outcomes.iter().flat_map(|list| &list.value);
        let outcomes: Option<Vec<_>> = outcomes.map(|text| self.word(text, "outcomes", &words)).collect();
        let sample = self.number(&file.sample, limit::SAMPLE);
        Some(QueryLog { to: to?, sample, subnets: subnets?, zones: zones?, outcomes: outcomes? })
    }

    fn log_to(&mut self, text: &Written<String>) -> Option<LogTo> {
        match &*text.value {
            "off" => Some(LogTo::Off),
            "journal" => Some(LogTo::Journal),
            path if path.contains(['/', '.']) => Some(LogTo::File(path.into())),
            word => {
                let problem = Problem::mistake(text.place.as_ref(), format!("to cannot be {word:?}"));
                let hint = match nearest(word, ["off", "journal"]) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "write off, journal, or a path, as \"/var/log/phzd/queries.jsonl\"".into(),
                };
                self.problems.push(problem.hint(hint));
                None
            }
        }
    }

    fn logged_subnets(&mut self, list: &Option<List>, ground: &Ground<'_>) -> Option<Vec<usize>> {
        let names = || ground.subnets.iter().map(|subnet| subnet.name.map(|name| name.value.as_str()));
        let mut index = |text: &Written<String>| {
            let found = names().position(|name| name == Some(&text.value));
            if found.is_none() {
                let problem = Problem::mistake(text.place.as_ref(), format!("no subnet is named {:?}", text.value));
                self.problems.push(match nearest(&text.value, names().flatten()) {
                    Some(near) => problem.hint(format!("did you mean {near:?}?")),
                    None => problem.hint("write the name of a [[subnet]]"),
                });
            }
            found
        };
        list.iter().flat_map(|list| &list.value).map(&mut index).collect()
    }

    fn logged_zones(&mut self, list: &Option<List>, claims: &[Claim]) -> Option<Vec<Name>> {
        let mut zone = |text: &Written<String>| {
            let Ok(name) = text.value.parse::<Name>() else {
                let problem = Problem::mistake(text.place.as_ref(), format!("{:?} is no domain name", text.value));
                self.problems.push(problem.hint("write the whole name of a zone, as a bucket's host name"));
                return None;
            };
            if !claims.iter().flat_map(|claim| &claim.names).any(|(other, _)| *other == name) {
                let problem = Problem::warning(text.place.as_ref(), format!("no zone is named {name}"));
                self.problems.push(problem.hint("a bucket's zone has its whole host name"));
            }
            Some(name)
        };
        list.iter().flat_map(|list| &list.value).map(&mut zone).collect()
    }
}
