//! phzd inside hickory's server: a program that runs a `hickory_server::Server` has the split horizon by one line, and
//! with it whatever that server listens on.
//!
//! ```no_run
//! # async fn serve(config: &phzd::config::Config) -> Result<(), Box<dyn std::error::Error>> {
//! let resolver = phzd::resolver::Resolver::start(config)?;
//! let mut server = hickory_server::Server::new(phzd::hickory::Handler::new(resolver));
//! server.register_socket(tokio::net::UdpSocket::bind("127.0.0.1:5300").await?);
//! # Ok(())
//! # }
//! ```
//!
//! Apart from `server`, which is faster by far: hickory reads a query, phzd reads it again, and the reply is read and
//! written once more on the way out. What hickory's own reader refuses never comes here, and it answers that itself.

use std::net::SocketAddr;

use async_trait::async_trait;
use hickory_proto::op::{Header, HeaderCounts, Message, Metadata, ResponseCode};
use hickory_proto::serialize::binary::BinDecoder;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponseBuilder, Queries};

use crate::resolver::Resolver;
use crate::wire::Transport;

/// What makes the octets of a reply from those of a query.
pub trait Answer: Clone + Send + Sync + Unpin + 'static {
    /// The reply to `packet`, which came from `client`; `None` where none is due.
    fn answer(
        &self,
        packet: &[u8],
        client: SocketAddr,
        transport: Transport,
    ) -> impl Future<Output = Option<Vec<u8>>> + Send;
}

impl Answer for Resolver {
    async fn answer(&self, packet: &[u8], client: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        // A resolver counts for one task at a time.
        self.clone().resolve(packet, client, transport).await
    }
}

/// Handles hickory's requests.
#[derive(Debug, Clone)]
pub struct Handler<A = Resolver> {
    answers: A,
}

impl<A: Answer> Handler<A> {
    /// A handler that replies what `answers` says: a [`Resolver`], or something around one.
    pub fn new(answers: A) -> Self {
        Self { answers }
    }
}

#[async_trait]
impl<A: Answer> RequestHandler for Handler<A> {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut handle: R) -> ResponseInfo {
        // Whatever has a length of its own (TLS, HTTPS, QUIC) takes replies as large as TCP does.
        let transport = if request.protocol() == Protocol::Udp { Transport::Udp } else { Transport::Tcp };
        let reply = self.answers.answer(request.as_slice(), request.src(), transport).await;
        let sent = match reply.map(|octets| Message::from_vec(&octets)) {
            None => return unsent(request),
            Some(Ok(Message { metadata, queries, answers, authorities, additionals, edns, .. })) => {
                // A query that cannot be read is answered by its header alone.
                let none = Queries::read(&mut BinDecoder::new(&[]), 0).ok().filter(|_| queries.is_empty());
                let asked = none.as_ref().unwrap_or(&request.queries);
                let builder = MessageResponseBuilder::new(asked, edns.as_ref());
                handle.send_response(builder.build(metadata, &answers, &authorities, [], &additionals)).await
            }
            // A resolver's records are passed on as they came; hickory cannot read all that may come.
            Some(Err(_)) => {
                let builder = MessageResponseBuilder::new(&request.queries, None);
                handle.send_response(builder.error_msg(&request.metadata, ResponseCode::ServFail)).await
            }
        };
        sent.unwrap_or_else(|_| unsent(request))
    }
}

/// What hickory is told of a query that got no reply.
fn unsent(request: &Request) -> ResponseInfo {
    let metadata = Metadata::response_from_request(&request.metadata);
    Header { metadata, counts: HeaderCounts::default() }.into()
}
