//! Consumers, their groups and what coordinators say of them.

use super::{Builder, CLIENTS, orders};
use history::event::{
    Append, Client, Controller, ElectionKind, Group, Keeper, LeaderElection, Process, Replica, What,
};
use history::manifest::{ClientKind, CommitPolicy};
use history::operation::{Action, Operation, ProcessId, Stage, Value};
use protocol::config::OffsetStorage;
use protocol::ids::{
    BrokerId, ControllerEpoch, GenerationId, GroupId, LeaderEpoch, MemberId, Offset, SessionId,
    TopicPartition,
};
use protocol::verb::ResetReason;

impl Builder {
    /// A member of group `g` that subscribes to the topic, and whether its process ever starts.
    pub(crate) fn subscriber(&mut self, starts: bool) -> u16 {
        let kind = ClientKind::Consumer {
            group: Some(GroupId::from("g")),
            commit: CommitPolicy::After,
            read_committed: false,
            feeds: None,
            topics: vec![orders().topic],
            old: None,
        };
        let client = self.client("subscriber", kind);
        if starts {
            let started = Process::Started { life: 1 };
            self.at(Some(CLIENTS + client), What::Process(started));
        }
        client
    }

    /// A ZooKeeper consumer of group `g`, in a keeper session of its own.
    pub(crate) fn old_consumer(&mut self, commit: CommitPolicy) -> u16 {
        self.old_consumer_with(commit, OffsetStorage::Zookeeper)
    }

    /// The same, with its offsets there.
    pub(crate) fn old_consumer_with(
        &mut self,
        commit: CommitPolicy,
        offsets: OffsetStorage,
    ) -> u16 {
        let kind = ClientKind::Consumer {
            group: Some(GroupId::from("g")),
            commit,
            read_committed: false,
            feeds: None,
            topics: Vec::new(),
            old: Some(offsets),
        };
        let name = format!("c{}", self.history.manifest.clients.len());
        let client = self.client(&name, kind);
        let session = Client::KeeperSession(SessionId(i64::from(client)));
        self.at(Some(CLIENTS + client), What::Client(session));
        client
    }

    /// The keepers end its session.
    pub(crate) fn session_expires(&mut self, client: u16) {
        let session = SessionId(i64::from(client));
        self.at(Some(0), What::Keeper(Keeper::SessionExpired(session)));
    }

    /// It begins to find out what is its own.
    pub(crate) fn rebalances(&mut self, client: u16) {
        let group = GroupId::from("g");
        let attempt = 1;
        let note = Client::Rebalancing { group, attempt };
        self.at(Some(CLIENTS + client), What::Client(note));
    }

    /// It owns the partition now.
    pub(crate) fn owns(&mut self, client: u16) {
        let action = Action::Assigned {
            group: Some(GroupId::from("g")),
            generation: None,
            partitions: vec![orders()],
        };
        self.operation(client, Stage::Ok, action);
    }

    /// A commit to ZooKeeper begins or ends, as the operation of this number.
    pub(crate) fn writes(&mut self, client: u16, stage: Stage, (id, offset): (u64, i64)) {
        let operation = Operation {
            client,
            process: ProcessId(u32::from(client) << 16),
            id,
            stage,
            action: Action::Commit {
                group: GroupId::from("g"),
                offsets: vec![(orders(), Offset(offset))],
                auto: true,
                error: None,
            },
        };
        self.at(Some(CLIENTS + client), What::Operation(operation));
    }

    pub(crate) fn processed(&mut self, client: u16, offset: i64, value: Value) {
        let group = Some(GroupId::from("g"));
        let action = Action::Process {
            group,
            partition: orders(),
            offset: Offset(offset),
            value,
        };
        self.operation(client, Stage::Ok, action);
    }

    /// A member joined a generation and was given the partition.
    pub(crate) fn assigned(&mut self, client: u16, generation: i32) {
        let joined = Client::Joined {
            group: GroupId::from("g"),
            generation: GenerationId(generation),
            member: MemberId::from(format!("m{client}")),
        };
        self.at(Some(CLIENTS + client), What::Client(joined));
        let group = Some(GroupId::from("g"));
        let action = Action::Assigned {
            group,
            generation: None,
            partitions: vec![orders()],
        };
        self.operation(client, Stage::Ok, action);
    }

    /// The member joins a generation that adds nothing to what it has.
    pub(crate) fn kept(&mut self, client: u16, generation: i32) {
        let joined = Client::Joined {
            group: GroupId::from("g"),
            generation: GenerationId(generation),
            member: MemberId::from(format!("m{client}")),
        };
        self.at(Some(CLIENTS + client), What::Client(joined));
        let action = Action::Assigned {
            group: Some(GroupId::from("g")),
            generation: None,
            partitions: Vec::new(),
        };
        self.operation(client, Stage::Ok, action);
    }

    pub(crate) fn revoked(&mut self, client: u16) {
        let group = Some(GroupId::from("g"));
        let action = Action::Revoked {
            group,
            partitions: vec![orders()],
        };
        self.operation(client, Stage::Ok, action);
    }

    pub(crate) fn position(&mut self, client: u16, offset: i64, reason: ResetReason) {
        let action = Action::Position {
            partition: orders(),
            offset: Offset(offset),
            reason,
        };
        self.operation(client, Stage::Ok, action);
    }

    pub(crate) fn group(&mut self, group: Group) {
        self.at(Some(0), What::Group(GroupId::from("g"), group));
    }

    pub(crate) fn generation(&mut self, generation: i32) {
        let members = vec![MemberId::from("m")];
        self.group(Group::Generation {
            generation: GenerationId(generation),
            members,
        });
    }

    /// The coordinator stores a commit of a client that is no member by its word.
    pub(crate) fn stored_without_a_member(&mut self, offset: i64) {
        self.group(Group::OffsetCommitted {
            partition: orders(),
            offset: Offset(offset),
            member: MemberId::from(""),
            generation: GenerationId(-1),
        });
    }

    /// The partition of `__consumer_offsets` that holds the group: its leader, broker 1, appends one record.
    pub(crate) fn stored_in_log(&mut self) {
        let home = TopicPartition::new("__consumer_offsets", 0);
        let append = Append {
            base_offset: Offset(0),
            last_offset: Offset(0),
            leader_epoch: LeaderEpoch(0),
            crc: 0,
            leader: true,
            producer: None,
            control: false,
            transactional: false,
            committed: None,
            values: Vec::new(),
        };
        let led = Replica::BecameLeader {
            leader_epoch: LeaderEpoch(0),
            isr: vec![BrokerId(1)],
            log_end_offset: Offset(0),
        };
        for replica in [led, Replica::Appended(append)] {
            self.at(Some(0), What::Replica(home.clone(), replica));
        }
    }

    /// The controller finds no leader for that partition any more.
    pub(crate) fn stored_is_offline(&mut self) {
        let election = LeaderElection {
            partition: TopicPartition::new("__consumer_offsets", 0),
            leader: None,
            leader_epoch: LeaderEpoch(1),
            isr: vec![BrokerId(1)],
            kind: ElectionKind::Clean,
            controller_epoch: ControllerEpoch(1),
        };
        let elected = Controller::LeaderElected(election);
        self.at(Some(0), What::Controller(elected));
    }

    /// A member commits, the coordinator stores it, the member is told.
    pub(crate) fn committed(&mut self, client: u16, generation: i32, offset: i64) {
        self.group(Group::OffsetCommitted {
            partition: orders(),
            offset: Offset(offset),
            member: MemberId::from(format!("m{client}")),
            generation: GenerationId(generation),
        });
        let offsets = vec![(orders(), Offset(offset))];
        let action = Action::Commit {
            group: GroupId::from("g"),
            offsets,
            auto: false,
            error: None,
        };
        self.operation(client, Stage::Ok, action);
    }

    /// A member asks for a commit, or learns what became of it; the coordinator says nothing.
    pub(crate) fn commit_asked(&mut self, client: u16, offset: i64, stage: Stage) {
        self.commit_untold(client, offset, (stage, false));
    }

    /// The client commits by itself, or somebody calls for it.
    pub(crate) fn commit_untold(&mut self, client: u16, offset: i64, (stage, auto): (Stage, bool)) {
        let action = Action::Commit {
            group: GroupId::from("g"),
            offsets: vec![(orders(), Offset(offset))],
            auto,
            error: None,
        };
        self.operation(client, stage, action);
    }

    /// A coordinator reads the group from its log.
    pub(crate) fn group_loaded(&mut self, generation: i32) {
        self.group(Group::Loaded {
            generation: GenerationId(generation),
            offsets: 1,
        });
    }
}
