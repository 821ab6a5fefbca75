//! Everything that crosses a connection.
//!
//! Kafka's requests carry api key and version, correlation id and client id; responses carry the correlation id. Keeper
//! traffic has its own framing. Every message knows its size on the wire, which is what bandwidth and byte limits see.
//! Bodies are typed values, not bytes: the byte codec for real clients is a layer on top and changes no history.

use crate::api::{RequestBody, ResponseBody};
use crate::ids::{ClientId, CorrelationId};
use crate::keeper::{ElectionMessage, KeeperReply, KeeperRequest, QuorumPacket};

/// One message on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A Kafka request.
    Request(Box<Request>),
    /// A Kafka response.
    Response(Box<Response>),
    /// A client's packet to a keeper server.
    KeeperRequest(Box<KeeperRequest>),
    /// A keeper server's packet to a client.
    KeeperReply(Box<KeeperReply>),
    /// A vote between keeper servers (election port, 3888).
    Election(ElectionMessage),
    /// A packet between keeper leader and follower (quorum port, 2888).
    Quorum(Box<QuorumPacket>),
}

/// A Kafka request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The version of the body; the api key follows from the body.
    pub api_version: i16,
    /// Pairs it with its response.
    pub correlation_id: CorrelationId,
    /// `client.id` of the sender.
    pub client_id: ClientId,
    /// What is asked.
    pub body: RequestBody,
}

/// A Kafka response.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The request it answers.
    pub correlation_id: CorrelationId,
    /// The answer.
    pub body: ResponseBody,
}

/// What kind a message is: what a scenario names when it holds or drops one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MessageKind {
    /// A request of this api.
    Request(crate::api::ApiKey),
    /// A response of this api.
    Response(crate::api::ApiKey),
    /// Any keeper client request.
    KeeperRequest,
    /// Any keeper reply or watch event.
    KeeperReply,
    /// A keeper vote.
    Election,
    /// A packet between keeper servers.
    Quorum,
}

impl Message {
    /// Its size on the wire in bytes, length prefix included.
    pub fn wire_size(&self) -> u64 {
        4 + match self {
            Self::Request(request) => {
                10 + text_size(request.client_id.as_str()) + request.body.wire_size()
            }
            Self::Response(response) => 4 + response.body.wire_size(),
            Self::KeeperRequest(request) => request.wire_size(),
            Self::KeeperReply(reply) => reply.wire_size(),
            Self::Election(_) => 40,
            Self::Quorum(packet) => packet.wire_size(),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Request(request) => MessageKind::Request(request.body.api_key()),
            Self::Response(response) => MessageKind::Response(response.body.api_key()),
            Self::KeeperRequest(_) => MessageKind::KeeperRequest,
            Self::KeeperReply(_) => MessageKind::KeeperReply,
            Self::Election(_) => MessageKind::Election,
            Self::Quorum(_) => MessageKind::Quorum,
        }
    }
}

/// Bytes of a length as a count on the wire.
pub(crate) fn size_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Bytes of a string with its two-byte length.
pub(crate) fn text_size(text: &str) -> u64 {
    2 + size_of(text.len())
}
