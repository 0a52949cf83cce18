//! The CNAMEs on the way from the name asked to that of the answer: at most so many, and never round (RFC 1034 section 3.6.2).

use crate::wire::answer::Alias;
use crate::wire::name::NameRef;
use crate::wire::query::Query;
use crate::wire::reply::MAX_CHAIN;

/// The CNAMEs that lead from the name asked to another.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub links: Vec<Alias>,
    /// Some of it is of an answer whose time is over.
    pub stale: bool,
}

impl Chain {
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The name that it has come to.
    pub fn name<'a>(&'a self, query: &Query<'a>) -> NameRef<'a> {
        self.links.last().map_or(query.whole_name(), |last| last.target.as_ref())
    }

    /// Adds `more`; `false` if the chain is too long then, or goes round.
    pub fn lengthen(&mut self, query: &Query<'_>, more: Vec<Alias>) -> bool {
        for link in more {
            let target = link.target.as_wire();
            let passed = target == query.name() || self.links.iter().any(|earlier| earlier.target == link.target);
            if passed || self.links.len() == MAX_CHAIN {
                return false;
            }
            self.links.push(link);
        }
        true
    }
}
