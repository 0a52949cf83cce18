//! The counter behind which cache and forwarder work together: questions in, answers out.
//!
//! Whatever is not a zone's goes here. The room cannot see zones or clients, so a private answer has no way into the
//! cache, and no client can be given another subnet's: what is kept was said by the resolvers of the same [`Route`].

pub mod cache;

use std::net::SocketAddr;
use std::sync::Arc;

/// The resolvers that a question may go to: the VPC's, or a rule's targets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// At least one; the order is the configuration's.
    resolvers: Box<[SocketAddr]>,
}

impl Route {
    /// The route to these resolvers.
    pub fn new(resolvers: &[SocketAddr]) -> Arc<Self> {
        Arc::new(Self { resolvers: resolvers.into() })
    }

    /// The resolvers, at least one unless the route was made of none.
    pub fn resolvers(&self) -> &[SocketAddr] {
        &self.resolvers
    }
}
