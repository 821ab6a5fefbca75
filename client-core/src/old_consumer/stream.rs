//! Streams: a queue of fetched chunks each, and the iterator over it (`KafkaStream`, `ConsumerIterator`).
//!
//! A message counts as consumed when `next` returns it, not when it has been processed: a commit by the committing
//! thread covers the message in the application's hands.

use super::partition_info::{InfoId, Registry};
use super::{Moment, ZookeeperConsumer};
use bytes::Bytes;
use protocol::ids::Offset;
use protocol::machine::Io;
use protocol::record::{Batches, RecordBatch, Records, batches};
use protocol::time::Mono;
use protocol::verb::{ClientError, ConsumerRecord, Failure, OperationId, Outcome};
use std::collections::{BTreeSet, VecDeque};

/// `FetchedDataChunk`: what one fetch brought of one partition.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) info: InfoId,
    pub(super) fetch_offset: Offset,
    pub(super) records: Bytes,
}

/// The chunk that is being iterated over.
#[derive(Clone, Debug)]
struct Current {
    info: InfoId,
    rest: Batches,
    batch: Option<(RecordBatch, Records)>,
}

/// A `next` that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    operation: OperationId,
    until: Option<Mono>,
}

/// One stream.
#[derive(Clone, Default, Debug)]
pub(super) struct Stream {
    queue: VecDeque<Chunk>,
    current: Option<Current>,
    waiting: Option<Waiting>,
}

impl Stream {
    pub(super) fn is_full(&self, most: usize) -> bool {
        self.queue.len() >= most
    }

    pub(super) fn put(&mut self, chunk: Chunk) {
        self.queue.push_back(chunk);
    }

    /// What is queued and being read is thrown away (`clearFetcherQueues`).
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.current = None;
    }

    /// The infos that what is here names.
    pub(super) fn infos(&self) -> BTreeSet<InfoId> {
        let queued = self.queue.iter().map(|chunk| chunk.info);
        queued
            .chain(self.current.as_ref().map(|current| current.info))
            .collect()
    }

    /// `ConsumerIterator.makeNext` and `next`: the next message, and with it the consumed offset.
    fn next(&mut self, registry: &mut Registry) -> Option<(InfoId, ConsumerRecord)> {
        loop {
            if let Some(found) = self
                .current
                .as_mut()
                .and_then(|current| current.next(registry))
            {
                return Some(found);
            }
            let chunk = self.queue.pop_front()?;
            if let Some(info) = registry.get_mut(chunk.info)
                && info
                    .consumed
                    .is_none_or(|consumed| consumed < chunk.fetch_offset)
            {
                // "consumed offset doesn't match fetch offset; Consumer may lose data"
                info.consumed = Some(chunk.fetch_offset);
            }
            self.current = Some(Current {
                info: chunk.info,
                rest: batches(chunk.records),
                batch: None,
            });
        }
    }
}

impl Current {
    fn next(&mut self, registry: &mut Registry) -> Option<(InfoId, ConsumerRecord)> {
        let info = registry.get_mut(self.info)?;
        loop {
            if let Some((batch, records)) = &mut self.batch {
                for record in records.by_ref().flatten() {
                    if info
                        .consumed
                        .is_some_and(|consumed| record.offset < consumed)
                    {
                        continue;
                    }
                    info.consumed = Some(record.offset.next());
                    let record = ConsumerRecord {
                        offset: record.offset,
                        leader_epoch: batch.partition_leader_epoch(),
                        timestamp: record.timestamp,
                        key: record.key,
                        value: record.value,
                    };
                    return Some((self.info, record));
                }
                self.batch = None;
            }
            let batch = self.rest.next()?.ok()?;
            let records = batch.records();
            self.batch = (!batch.is_control()).then_some((batch, records));
        }
    }
}

/// Where a fetch goes on after these records; none when there is no whole batch in them.
pub(super) fn end_of(records: &Bytes) -> Option<Offset> {
    let whole = batches(records.clone()).map_while(Result::ok);
    whole.last().map(|batch| batch.next_offset())
}

impl ZookeeperConsumer {
    /// `next` on a stream.
    pub(super) fn next_message(&mut self, moment: Moment, number: u32, io: &mut Io<'_>) {
        let Some(stream) = self.streams.get_mut(&number) else {
            let failure = Failure::fail(ClientError::IllegalState("there is no such stream"));
            io.outcome(moment.operation, Outcome::Polled(Err(failure)));
            return;
        };
        let timeout = self.config.consumer_timeout();
        stream.waiting = Some(Waiting {
            operation: moment.operation,
            until: timeout.map(|timeout| moment.now.mono + timeout),
        });
        self.deliver(moment.now.mono, number, io);
    }

    /// Gives a `next` that waits its message, if there is one.
    pub(super) fn deliver(&mut self, now: Mono, number: u32, io: &mut Io<'_>) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let Some(waiting) = stream.waiting else {
            return;
        };
        let queued = stream.queue.len();
        if let Some((info, record)) = stream.next(&mut self.registry) {
            stream.waiting = None;
            let has_room = stream.queue.len() < queued;
            let partition = self.registry.get(info).map(|info| info.partition.clone());
            let polled = partition.map(|partition| (partition, vec![record]));
            io.outcome(
                waiting.operation,
                Outcome::Polled(Ok(polled.into_iter().collect())),
            );
            if has_room {
                self.unblock_fetchers(now, io);
            }
        } else if waiting.until.is_some_and(|until| until <= now) {
            stream.waiting = None;
            let failure = Failure::fail(ClientError::ConsumerTimeout);
            io.outcome(waiting.operation, Outcome::Polled(Err(failure)));
        }
    }

    /// Every `next` that waits or comes is told that the consumer is shut down (`sendShutdownToAllQueues`).
    pub(super) fn shut_streams(&mut self, io: &mut Io<'_>) {
        for stream in self.streams.values_mut() {
            stream.clear();
            if let Some(waiting) = stream.waiting.take() {
                let failure = Failure::fail(ClientError::Closed);
                io.outcome(waiting.operation, Outcome::Polled(Err(failure)));
            }
        }
    }

    /// When a `next` has waited too long.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        let waiting = self.streams.values().filter_map(|stream| stream.waiting);
        waiting.filter_map(|waiting| waiting.until).min()
    }
}
