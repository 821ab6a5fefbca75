//! What the charts show, computed from a history: the window of time, the fault bands, the traffic of the clients and the
//! state of every replica over time. Nothing here draws.

pub mod fault;
pub mod lag;
pub mod replica;
pub mod span;
pub mod traffic;

use crate::number::SECOND;
use history::History;
use history::event::{Phase, What};

/// Faults that begin within this time before another belong to the same closer look.
const CLOSE: u64 = 3 * SECOND;

/// The time that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From, in nanoseconds of the world.
    pub start: u64,
    /// To; always later than `start`.
    pub end: u64,
}

impl Window {
    /// From the beginning of the workload to the end of the run: the forming of the cluster before it would only make
    /// everything else small. A history without phases is drawn whole.
    pub fn of(history: &History) -> Self {
        let phase = |wanted| {
            let mut events = history.events.iter();
            events
                .find(|event| event.what == What::Phase(wanted))
                .map(|event| event.at)
        };
        let first = history.events.first().map_or(0, |event| event.at);
        let last = history.events.last().map_or(0, |event| event.at);
        let start = phase(Phase::Safety).unwrap_or(first);
        // The final read takes no part in the story; it ends the chart where liveness has been shown.
        let end = phase(Phase::FinalRead)
            .or_else(|| phase(Phase::End))
            .unwrap_or(last);
        Self {
            start,
            end: end.max(start + 1),
        }
    }

    /// A closer look at the fault before the first change of leader (else at the first fault) and at those shortly before it,
    /// where the whole is too long to show it: what decides the fate of a record often takes milliseconds. None where no
    /// replica's state changed.
    pub fn close_up(self, faults: &[fault::Band], replicas: &replica::Replicas) -> Option<Self> {
        let change = replicas.first_change()?;
        let before = replicas.first_succession().unwrap_or(change);
        let anchor = faults
            .iter()
            .rev()
            .find(|band| band.start <= before)
            .or_else(|| faults.first())?;
        let near = |band: &&fault::Band| band.start + CLOSE >= anchor.start;
        let first = faults.iter().find(near).unwrap_or(anchor);
        let margin = ((anchor.start - first.start) / 2).max(SECOND / 4);
        let start = first.start.saturating_sub(margin).max(self.start);
        let end = (anchor.start + margin).min(self.end);
        (end > start && (end - start) * 8 <= self.length()).then_some(Self { start, end })
    }

    /// Length in nanoseconds.
    pub const fn length(self) -> u64 {
        self.end - self.start
    }

    /// The part of a span that lies in the window; `None` if it lies outside.
    pub fn clip(self, from: u64, to: u64) -> Option<(u64, u64)> {
        (from <= self.end && to >= self.start).then(|| (from.max(self.start), to.min(self.end)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use history::event::{
        Append, Controller, ElectionKind, Event, Fault, FaultStage, LeaderElection, Process,
        Replica,
    };
    use history::expectation::Expectations;
    use history::manifest::{
        ClientInfo, ClientKind, FORMAT_VERSION, Manifest, Node, NodeRole, PlannedFault, Stream,
        Topic,
    };
    use history::operation::{Action, Operation, ProcessId, Stage, Value};
    use protocol::ids::{
        BrokerId, ControllerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicName,
        TopicPartition,
    };
    use std::collections::BTreeMap;

    /// Nanoseconds of a millisecond.
    pub(crate) const MS: u64 = 1_000_000;

    /// The only partition.
    pub(crate) fn orders() -> TopicPartition {
        TopicPartition::new("orders", 0)
    }

    /// A history in the making: brokers 1 to 3 are nodes 0 to 2, producer `p1` is node 3; times in milliseconds.
    pub(crate) struct Builder {
        pub(crate) history: History,
    }

    impl Builder {
        pub(crate) fn new() -> Self {
            let mut nodes: Vec<Node> = (1..=3)
                .map(|id| Node {
                    name: format!("b{id}"),
                    role: NodeRole::Broker(BrokerId(id)),
                })
                .collect();
            nodes.push(Node {
                name: "p1".to_owned(),
                role: NodeRole::Client(0),
            });
            let producer = ClientKind::Producer {
                acks: "1".to_owned(),
                retries: 0,
                in_flight: 5,
                idempotence: false,
                transactional_id: None,
                transaction_timeout_ms: None,
            };
            let manifest = Manifest {
                format: "ktrial-history".to_owned(),
                version: FORMAT_VERSION,
                scenario: "by-hand".to_owned(),
                path: "scenarios/by-hand.toml".to_owned(),
                variant: None,
                title: "A leader dies".to_owned(),
                question: "Is a record <safe> after acks=1?".to_owned(),
                lesson: "`acks=1` waits for **one** replica.\n".to_owned(),
                seed: 7,
                era: "2.8".to_owned(),
                fixes: BTreeMap::new(),
                streams: vec![Stream::Operations, Stream::Brokers, Stream::Faults],
                nodes,
                topics: vec![Topic {
                    name: TopicName::from("orders"),
                    partitions: 1,
                    replication_factor: 3,
                    min_insync_replicas: 1,
                    unclean_leader_election: false,
                }],
                clients: vec![ClientInfo {
                    name: "p1".to_owned(),
                    node: NodeId(3),
                    kind: producer,
                }],
                faults: vec![PlannedFault {
                    kind: "kill".to_owned(),
                    what: String::new(),
                    description: "kill the leader of orders-0".to_owned(),
                    permanent: false,
                    random: false,
                }],
                expect: Expectations::default(),
                reaches: Vec::new(),
                progress_within: 0,
            };
            Self {
                history: History {
                    manifest,
                    events: Vec::new(),
                    hash: String::new(),
                },
            }
        }

        pub(crate) fn at(&mut self, ms: u64, node: Option<u16>, what: What) {
            let step = u64::try_from(self.history.events.len()).unwrap();
            self.history.events.push(Event {
                at: ms * MS,
                step,
                node: node.map(NodeId),
                what,
            });
        }

        pub(crate) fn phase(&mut self, ms: u64, phase: Phase) {
            self.at(ms, None, What::Phase(phase));
        }

        pub(crate) fn fault(&mut self, ms: u64, target: &str, stage: FaultStage) {
            let fault = Fault {
                index: 0,
                kind: "kill".to_owned(),
                target: target.to_owned(),
                stage,
            };
            self.at(ms, None, What::Fault(fault));
        }

        pub(crate) fn replica(&mut self, ms: u64, broker: u16, what: Replica) {
            self.at(ms, Some(broker - 1), What::Replica(orders(), what));
        }

        pub(crate) fn append(&mut self, ms: u64, broker: u16, offset: i64) {
            let append = Append {
                base_offset: Offset(offset),
                last_offset: Offset(offset),
                leader_epoch: LeaderEpoch(0),
                crc: 0,
                leader: broker == 1,
                producer: None,
                control: false,
                transactional: false,
                committed: None,
                values: Vec::new(),
            };
            self.replica(ms, broker, Replica::Appended(append));
        }

        pub(crate) fn elect(&mut self, ms: u64, leader: Option<i32>, epoch: i32, isr: &[i32]) {
            let election = LeaderElection {
                partition: orders(),
                leader: leader.map(BrokerId),
                leader_epoch: LeaderEpoch(epoch),
                isr: isr.iter().copied().map(BrokerId).collect(),
                kind: ElectionKind::Clean,
                controller_epoch: ControllerEpoch(1),
            };
            self.at(
                ms,
                Some(1),
                What::Controller(Controller::LeaderElected(election)),
            );
        }

        pub(crate) fn isr(&mut self, ms: u64, broker: u16, isr: &[i32], epoch: i32) {
            let isr = isr.iter().copied().map(BrokerId).collect();
            self.replica(
                ms,
                broker,
                Replica::IsrChanged {
                    isr,
                    partition_epoch: PartitionEpoch(epoch),
                },
            );
        }

        pub(crate) fn die(&mut self, ms: u64, broker: u16) {
            let died = Process::Died {
                how: "process".to_owned(),
                bytes_lost: 0,
            };
            self.at(ms, Some(broker - 1), What::Process(died));
        }

        pub(crate) fn load(&mut self, ms: u64, broker: u16, end: i64, high_watermark: i64) {
            self.at(
                ms,
                Some(broker - 1),
                What::Process(Process::Started { life: 1 }),
            );
            let loaded = Replica::Loaded {
                log_start_offset: Offset(0),
                log_end_offset: Offset(end),
                high_watermark: Offset(high_watermark),
                clean: false,
            };
            self.replica(ms, broker, loaded);
        }

        pub(crate) fn send(&mut self, ms: u64, number: u64, stage: Stage) {
            let action = Action::Send {
                topic: TopicName::from("orders"),
                partition: Some(0),
                key: None,
                value: Value::new(0, number),
                transaction: None,
                made_from: None,
                amount: None,
                offset: None,
                error: None,
            };
            let operation = Operation {
                client: 0,
                process: ProcessId(0),
                id: number,
                stage,
                action,
            };
            self.at(ms, Some(3), What::Operation(operation));
        }
    }

    /// The leader acknowledges what nobody fetched, dies, another leads, the old one truncates.
    pub(crate) fn lossy() -> History {
        let mut b = Builder::new();
        b.phase(0, Phase::Setup);
        b.elect(10, Some(1), 0, &[1, 2, 3]);
        b.phase(1_000, Phase::Safety);
        for number in 0..20_u64 {
            let at = 1_000 + number * 50;
            let offset = i64::try_from(number).unwrap();
            b.send(at, number, Stage::Invoke);
            b.append(at + 1, 1, offset);
            if number < 16 {
                b.append(at + 2, 2, offset);
                b.append(at + 2, 3, offset);
                for broker in 1..=3 {
                    b.replica(at + 3, broker, Replica::HighWatermark(Offset(offset + 1)));
                }
            }
            b.send(at + 4, number, Stage::Ok);
        }
        b.fault(2_000, "b1", FaultStage::Injected);
        b.fault(
            2_000,
            "b1",
            FaultStage::Effective("1 process died".to_owned()),
        );
        b.die(2_000, 1);
        b.elect(2_400, Some(2), 1, &[2, 3]);
        b.fault(4_000, "b1", FaultStage::Healed);
        b.load(4_000, 1, 20, 16);
        b.replica(
            4_100,
            1,
            Replica::Truncated {
                to: Offset(16),
                from: Offset(20),
                rule: "leader_epoch".to_owned(),
            },
        );
        b.isr(4_500, 2, &[2, 3, 1], 3);
        b.phase(5_000, Phase::Heal);
        b.phase(5_500, Phase::FinalRead);
        b.phase(5_600, Phase::End);
        b.history
    }

    #[test]
    fn the_window_leaves_out_setup_and_final_read() {
        assert_eq!(
            Window::of(&lossy()),
            Window {
                start: 1_000 * MS,
                end: 5_500 * MS
            }
        );
    }

    #[test]
    fn a_history_without_phases_is_drawn_whole() {
        let mut b = Builder::new();
        b.append(5, 1, 0);
        b.append(9, 1, 1);
        assert_eq!(
            Window::of(&b.history),
            Window {
                start: 5 * MS,
                end: 9 * MS
            }
        );
    }

    fn close_up(history: &History) -> Option<Window> {
        let window = Window::of(history);
        window.close_up(
            &fault::bands(history, window),
            &replica::Replicas::of(history, window),
        )
    }

    #[test]
    fn the_closer_look_is_at_the_fault_before_the_leader_changed() {
        assert_eq!(
            close_up(&lossy()),
            Some(Window {
                start: 1_750 * MS,
                end: 2_250 * MS
            })
        );
    }

    #[test]
    fn there_is_no_closer_look_where_no_replica_changed() {
        let mut b = Builder::new();
        b.phase(0, Phase::Safety);
        b.elect(0, Some(1), 0, &[1, 2, 3]);
        b.fault(30_000, "p1", FaultStage::Injected);
        b.phase(60_000, Phase::End);
        assert_eq!(close_up(&b.history), None);
    }

    #[test]
    fn an_empty_history_has_a_window_that_can_be_drawn() {
        assert_eq!(Window::of(&Builder::new().history).length(), 1);
    }
}
