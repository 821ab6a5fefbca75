//! A bench for one client: a cluster that says who leads, connections that open at once, and a script — the test — that
//! answers everything else by hand.

#![allow(
    dead_code,
    reason = "every test file has a bench of its own and uses a part of it"
)]

use protocol::api::cluster::LiveBroker;
use protocol::api::data::Acks;
use protocol::api::topics::{MetadataRequest, MetadataResponse, PartitionMetadata, TopicMetadata};
use protocol::api::{ApiKey, ApiVersionsResponse, RequestBody, ResponseBody};
use protocol::disk::NoDisk;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, CorrelationId, Endpoint, LeaderEpoch, TopicName, TopicPartition};
use protocol::machine::{CloseReason, ConnectionId, Effect, Input, Io, Machine, TimerId};
use protocol::message::{Message, Request, Response};
use protocol::note::Note;
use protocol::time::{Mono, Now, Span, Wall};
use protocol::verb::{OperationId, Outcome, Verb};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A request that waits for the script's answer.
#[derive(Clone, Debug)]
pub struct Asked {
    pub broker: i32,
    pub connection: ConnectionId,
    pub request: Request,
}

pub struct Bench<M> {
    pub machine: M,
    pub now: Mono,
    next_connection: u64,
    next_operation: u64,
    connections: BTreeMap<ConnectionId, i32>,
    /// What the script owes an answer to.
    owed: BTreeSet<(ConnectionId, CorrelationId)>,
    /// Answers behind those, because a broker answers in order.
    held: VecDeque<(ConnectionId, Response)>,
    pub asked: VecDeque<Asked>,
    pub outcomes: Vec<(OperationId, Outcome)>,
    pub notes: Vec<Note>,
    timers: BTreeMap<TimerId, Mono>,
    /// Who leads what, in which epoch.
    pub leaders: BTreeMap<TopicPartition, (i32, i32)>,
    /// Brokers that refuse connections.
    pub refusing: BTreeSet<i32>,
    pub controller: i32,
    pub metadata_asked: usize,
    pub steps: usize,
}

pub fn bootstrap() -> Vec<Endpoint> {
    vec![endpoint(1)]
}

pub fn endpoint(broker: i32) -> Endpoint {
    Endpoint::new(format!("b{broker}"), 9092)
}

impl<M: Machine> Bench<M> {
    /// A client in front of brokers 1 to 3; partition `i` of topic `t` is led by broker `i + 1`.
    pub fn new(machine: M, partitions: i32) -> Self {
        let leaders = (0..partitions)
            .map(|index| (TopicPartition::new("t", index), (index % 3 + 1, 0)))
            .collect();
        let mut bench = Self {
            machine,
            now: Mono(0) + Span::secs(1),
            next_connection: 0,
            next_operation: 0,
            connections: BTreeMap::new(),
            owed: BTreeSet::new(),
            held: VecDeque::new(),
            asked: VecDeque::new(),
            outcomes: Vec::new(),
            notes: Vec::new(),
            timers: BTreeMap::new(),
            leaders,
            refusing: BTreeSet::new(),
            controller: 1,
            metadata_asked: 0,
            steps: 0,
        };
        bench.input(Input::Started);
        bench
    }

    pub fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.steps += 1;
            assert!(self.steps < 100_000, "the client does not come to rest");
            let (mut disk, mut effects) = (NoDisk, Vec::new());
            let mut io = Io::new(&mut disk, &mut effects, &mut self.next_connection);
            let wall = Wall(i64::try_from(self.now.0).unwrap());
            self.machine.handle(
                Now {
                    mono: self.now,
                    wall,
                },
                input,
                &mut io,
            );
            for stamped in effects {
                self.effect(stamped.effect, &mut inputs);
            }
        }
    }

    fn effect(&mut self, effect: Effect, inputs: &mut VecDeque<Input>) {
        match effect {
            Effect::Connect { connection, to } => {
                let broker = to.host[1..].parse().unwrap();
                if self.refusing.contains(&broker) {
                    inputs.push_back(Input::Refused { connection });
                } else {
                    self.connections.insert(connection, broker);
                    inputs.push_back(Input::Opened { connection });
                }
            }
            Effect::Send {
                connection,
                message: Message::Request(request),
            } => self.sent(connection, *request, inputs),
            Effect::Close { connection } => {
                self.forget(connection);
            }
            Effect::SetTimer { timer, at } => {
                self.timers.insert(timer, at);
            }
            Effect::CancelTimer { timer } => {
                self.timers.remove(&timer);
            }
            Effect::Outcome { operation, outcome } => self.outcomes.push((operation, outcome)),
            Effect::Note(note) => self.notes.push(note),
            other => panic!("a client does not do this: {other:?}"),
        }
    }

    fn sent(&mut self, connection: ConnectionId, request: Request, inputs: &mut VecDeque<Input>) {
        let Some(broker) = self.connections.get(&connection).copied() else {
            return;
        };
        let body: ResponseBody = match &request.body {
            RequestBody::ApiVersions(_) => ApiVersionsResponse {
                error: ErrorCode::None,
                versions: Vec::new(),
            }
            .into(),
            RequestBody::Metadata(metadata) => {
                self.metadata_asked += 1;
                self.metadata(metadata).into()
            }
            body => {
                let unanswered =
                    matches!(body, RequestBody::Produce(produce) if produce.acks == Acks::None);
                if !unanswered {
                    self.owed.insert((connection, request.correlation_id));
                }
                self.asked.push_back(Asked {
                    broker,
                    connection,
                    request,
                });
                return;
            }
        };
        let correlation_id = request.correlation_id;
        self.held.push_back((
            connection,
            Response {
                correlation_id,
                body,
            },
        ));
        self.release(inputs);
    }

    /// Sends the answers that are next on their connections.
    fn release(&mut self, inputs: &mut VecDeque<Input>) {
        for (connection, response) in std::mem::take(&mut self.held) {
            let blocked = self.owed.iter().any(|(owed, correlation)| {
                *owed == connection && *correlation < response.correlation_id
            });
            if blocked {
                self.held.push_back((connection, response));
            } else {
                let message = Message::Response(Box::new(response));
                inputs.push_back(Input::Received {
                    connection,
                    message,
                });
            }
        }
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        self.asked.retain(|asked| asked.connection != connection);
        self.owed.retain(|(owed, _)| *owed != connection);
        self.held.retain(|(held, _)| *held != connection);
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let every = || {
            self.leaders
                .keys()
                .map(|known| known.topic.clone())
                .collect::<BTreeSet<_>>()
        };
        let asked = request.topics.clone();
        let topics = asked.unwrap_or_else(|| every().into_iter().collect());
        MetadataResponse {
            brokers: (1..=3)
                .map(|id| LiveBroker {
                    id: BrokerId(id),
                    endpoint: endpoint(id),
                })
                .collect(),
            controller: Some(BrokerId(self.controller)),
            topics: topics.into_iter().map(|topic| self.topic(topic)).collect(),
        }
    }

    fn topic(&self, topic: TopicName) -> TopicMetadata {
        let partitions: Vec<PartitionMetadata> = self
            .leaders
            .iter()
            .filter(|(partition, _)| partition.topic == topic)
            .map(|(partition, (leader, epoch))| PartitionMetadata {
                error: ErrorCode::None,
                partition: partition.partition,
                leader: Some(BrokerId(*leader)),
                leader_epoch: Some(LeaderEpoch(*epoch)),
                replicas: vec![BrokerId(1), BrokerId(2), BrokerId(3)],
                isr: vec![BrokerId(*leader)],
                offline_replicas: Vec::new(),
            })
            .collect();
        TopicMetadata {
            error: if partitions.is_empty() {
                ErrorCode::UnknownTopicOrPartition
            } else {
                ErrorCode::None
            },
            is_internal: topic.as_str().starts_with("__"),
            topic,
            id: None,
            partitions,
        }
    }

    /// The application calls.
    pub fn call(&mut self, verb: Verb) -> OperationId {
        let operation = OperationId(self.next_operation);
        self.next_operation += 1;
        self.input(Input::Verb { operation, verb });
        operation
    }

    /// Time passes, and timers ring on the way.
    pub fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while let Some((timer, at)) = self
            .timers
            .iter()
            .map(|(timer, at)| (*timer, *at))
            .filter(|(_, at)| *at <= end)
            .min_by_key(|(timer, at)| (*at, *timer))
        {
            self.timers.remove(&timer);
            self.now = self.now.max(at);
            self.input(Input::Timer { timer });
        }
        self.now = end;
    }

    /// The oldest unanswered request of an api.
    pub fn take(&mut self, api: ApiKey) -> Asked {
        self.try_take(api)
            .unwrap_or_else(|| panic!("no {api:?} among {:?}", self.apis()))
    }

    pub fn try_take(&mut self, api: ApiKey) -> Option<Asked> {
        let index = self
            .asked
            .iter()
            .position(|asked| asked.request.body.api_key() == api)?;
        self.asked.remove(index)
    }

    /// What is unanswered.
    pub fn apis(&self) -> Vec<ApiKey> {
        self.asked
            .iter()
            .map(|asked| asked.request.body.api_key())
            .collect()
    }

    /// The broker answers.
    pub fn answer(&mut self, asked: &Asked, body: impl Into<ResponseBody>) {
        let this = (asked.connection, asked.request.correlation_id);
        let is_behind = |owed: &&(ConnectionId, CorrelationId)| owed.0 == this.0 && **owed < this;
        let first = self.owed.iter().find(is_behind);
        assert!(
            first.is_none(),
            "a broker answers in order: {:?}",
            self.apis()
        );
        self.owed.remove(&this);
        self.input(Input::Received {
            connection: asked.connection,
            message: Message::Response(Box::new(Response {
                correlation_id: asked.request.correlation_id,
                body: body.into(),
            })),
        });
        let mut inputs = VecDeque::new();
        self.release(&mut inputs);
        for input in inputs {
            self.input(input);
        }
    }

    /// Whether a request still waits for its answer.
    pub fn is_owed(&self, asked: &Asked) -> bool {
        self.owed
            .contains(&(asked.connection, asked.request.correlation_id))
    }

    /// The connection of a request breaks.
    pub fn reset(&mut self, asked: &Asked) {
        let connection = asked.connection;
        self.forget(connection);
        self.input(Input::Closed {
            connection,
            reason: CloseReason::Reset,
        });
    }

    /// What an operation was told, and forgets it.
    pub fn told(&mut self, operation: OperationId) -> Vec<Outcome> {
        let mut told = Vec::new();
        self.outcomes.retain(|(of, outcome)| {
            let is_it = *of == operation;
            if is_it {
                told.push(outcome.clone());
            }
            !is_it
        });
        told
    }

    /// The one thing an operation was told.
    pub fn told_once(&mut self, operation: OperationId) -> Outcome {
        let mut told = self.told(operation);
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    }
}
