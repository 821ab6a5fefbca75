//! Whom to ask what any broker can answer (`leastLoadedNode`), and asking for metadata (`DefaultMetadataUpdater`).

use crate::backoff::{Purpose, draw};
use crate::connection::What;
use crate::network::{Network, Packet, Peer};
use protocol::api::topics::MetadataRequest;
use protocol::machine::Io;
use protocol::time::{Mono, Span};

impl<T: Clone> Network<T> {
    pub(super) fn maybe_update_metadata(&mut self, now: Mono, io: &mut Io<'_>) {
        if self.metadata_in_flight || self.metadata.next_update().max(self.metadata_rest) > now {
            return;
        }
        let Some(peer) = self.least_loaded(now) else {
            self.metadata_rest = self.rest_over_at(now);
            return;
        };
        if self
            .link(peer)
            .is_some_and(|link| link.can_send(self.config.max_in_flight))
        {
            let topics = self.metadata.start_update(now);
            self.metadata_in_flight = true;
            let body = MetadataRequest {
                topics,
                allow_auto_topic_creation: self.auto_create,
            };
            let packet = Packet {
                body: body.into(),
                flight: Some((What::Metadata, None)),
            };
            self.write(now, peer, packet, io);
        } else if !self.is_connecting() {
            self.connect(now, peer, io);
        }
    }

    /// The endpoints that metadata may be asked of: the bootstrap addresses until brokers are known.
    fn nodes(&self) -> Vec<Peer> {
        if self.metadata.brokers().is_empty() {
            (0..self.bootstrap.len())
                .filter_map(|index| u16::try_from(index).ok())
                .map(Peer::Bootstrap)
                .collect()
        } else {
            self.metadata
                .brokers()
                .keys()
                .copied()
                .map(Peer::Broker)
                .collect()
        }
    }

    /// The node with the fewest requests in flight, else one being connected, else the one not tried for longest
    /// (`leastLoadedNode`). The first one looked at is drawn.
    pub(crate) fn least_loaded(&mut self, now: Mono) -> Option<Peer> {
        let nodes = self.nodes();
        let count = u64::try_from(nodes.len()).ok().filter(|count| *count > 0)?;
        self.choices += 1;
        let start = draw(self.seed, Purpose::Node, 0, self.choices) % count;
        let start = usize::try_from(start).unwrap_or(0);
        let (mut ready, mut preparing, mut idle) = (None, None, None);
        for peer in nodes.iter().cycle().skip(start).take(nodes.len()).copied() {
            let Some(link) = self.links.get(&peer) else {
                if idle.is_none_or(|(_, at)| at > Mono(0)) {
                    idle = Some((peer, Mono(0)));
                }
                continue;
            };
            if link.can_send(self.config.max_in_flight) {
                let load = link.in_flight.len();
                if ready.is_none_or(|(_, least)| load < least) {
                    ready = Some((peer, load));
                }
            } else if link.is_preparing() {
                preparing = Some(peer);
            } else if link.can_connect(now) && idle.is_none_or(|(_, at)| link.last_attempt < at) {
                idle = Some((peer, link.last_attempt));
            }
        }
        ready
            .map(|(peer, _)| peer)
            .or(preparing)
            .or(idle.map(|(peer, _)| peer))
    }

    /// When to look for somebody to ask again, nobody being there now: everybody is being rested, or busy.
    pub(crate) fn rest_over_at(&self, now: Mono) -> Mono {
        let nodes = self.nodes();
        let first = nodes
            .iter()
            .filter_map(|peer| self.may_connect_at(*peer))
            .min();
        match first {
            Some(at) if at > now => at,
            Some(_) | None => now + self.config.reconnect_backoff.max(Span::millis(1)),
        }
    }
}
