//! The errors of the wire: Kafka's (`org.apache.kafka.common.protocol.Errors` of 2.8) and ZooKeeper's (`KeeperException.Code`).
//!
//! Besides Kafka's own two questions (retriable? does it make metadata stale?) each code answers Maelstrom's: is it
//! *definite*, so that a client may record `fail`, or may the operation have happened, so that it must record `info`?
//! Left out: the codes of 3.x and of the Raft quorum that no ZooKeeper-era broker sends to a client.

use serde::{Deserialize, Serialize};
use std::fmt;

const PLAIN: u8 = 0;
/// `RetriableException`.
const R: u8 = 1;
/// `InvalidMetadataException`, which is retriable too.
const M: u8 = 3;
/// Certainly did not happen.
const D: u8 = 4;
const RD: u8 = R | D;

macro_rules! error_codes {
    ($($variant:ident = $code:literal, $name:literal, $flags:expr, $message:literal;)*) => {
        /// A Kafka error code, named as in `Errors` of 2.8.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub enum ErrorCode {
            /// No error.
            #[default]
            #[serde(rename = "NONE")]
            None,
            $(#[doc = $message] #[serde(rename = $name)] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the numbers, `NONE` first.
            pub const ALL: &'static [Self] = &[Self::None, $(Self::$variant,)*];

            /// The number on the wire.
            pub const fn code(self) -> i16 {
                match self { Self::None => 0, $(Self::$variant => $code,)* }
            }

            /// The code of a number; one that 2.8 does not know reads as `UNKNOWN_SERVER_ERROR`, as in `Errors.forCode`.
            pub const fn from_code(code: i16) -> Self {
                match code { 0 => Self::None, $($code => Self::$variant,)* _ => Self::UnknownServerError }
            }

            /// Kafka's name, `NOT_LEADER_OR_FOLLOWER`.
            pub const fn name(self) -> &'static str {
                match self { Self::None => "NONE", $(Self::$variant => $name,)* }
            }

            /// The code of a name, exactly as [`name`](Self::name) gives it.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { "NONE" => Some(Self::None), $($name => Some(Self::$variant),)* _ => None }
            }

            /// One short sentence.
            pub const fn message(self) -> &'static str {
                match self { Self::None => "No error.", $(Self::$variant => $message,)* }
            }

            const fn flags(self) -> u8 {
                match self { Self::None => PLAIN, $(Self::$variant => $flags,)* }
            }
        }
    };
}

error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", PLAIN, "The broker failed in a way it has no code for.";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", D, "The offset lies before the start or after the end of the log.";
    CorruptMessage = 2, "CORRUPT_MESSAGE", RD, "The batch failed its checksum or is malformed.";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", M, "This broker does not know the partition.";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", D, "The fetch size makes no sense.";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", M, "The partition has no leader at the moment.";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", M, "This broker is not, or no longer, the leader of the partition.";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", R, "The request's own time-out passed on the broker.";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", PLAIN, "The broker cannot be reached.";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", M, "A replica of the partition cannot be reached.";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", D, "The batch is larger than the topic allows.";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", PLAIN, "The request comes from a controller that has been replaced.";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", D, "The text beside a committed offset is too long.";
    NetworkException = 13, "NETWORK_EXCEPTION", M, "The connection closed before the response came.";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", RD, "The coordinator is still loading its partition.";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", R, "There is no coordinator, or it could not replicate its write.";
    NotCoordinator = 16, "NOT_COORDINATOR", R, "This broker is not, or no longer, the coordinator.";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", D, "The topic name is not legal or the topic is internal.";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", D, "The batch is larger than a segment.";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", RD, "Fewer replicas are in sync than min.insync.replicas; nothing was written.";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", R, "Written, but the ISR has shrunk below min.insync.replicas since.";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", D, "acks is none of 0, 1 and -1.";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", D, "The member speaks of a generation that is not the group's.";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", D, "The member shares no assignor with the group.";
    InvalidGroupId = 24, "INVALID_GROUP_ID", D, "The group id is empty.";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", D, "The coordinator does not know this member.";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", D, "The session time-out is outside the broker's bounds.";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", D, "The group is rebalancing: the member must join again.";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", D, "The commit does not fit into one batch.";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", D, "Not allowed on this topic.";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", D, "Not allowed on this group.";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", D, "Not allowed on this cluster.";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", D, "The record's time stamp is too far from the broker's clock.";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", D, "The broker does not offer this SASL mechanism.";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", D, "The request does not fit the state of the SASL handshake.";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", D, "The broker does not speak this version of the request.";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", D, "A topic of this name exists.";
    InvalidPartitions = 37, "INVALID_PARTITIONS", D, "The number of partitions is below one or below the present one.";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", D, "More replicas wanted than brokers live, or fewer than one.";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", D, "The given placement is not possible.";
    InvalidConfig = 40, "INVALID_CONFIG", D, "A setting is not acceptable.";
    NotController = 41, "NOT_CONTROLLER", RD, "This broker is not the controller.";
    InvalidRequest = 42, "INVALID_REQUEST", D, "The request contradicts itself.";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", D, "The topic's record format cannot do this.";
    PolicyViolation = 44, "POLICY_VIOLATION", D, "The operator's policy forbids it.";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", D, "The batch does not follow the last one of its producer.";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", PLAIN, "The batch was appended before, longer ago than the broker remembers.";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", D, "A newer instance has taken over this producer id.";
    InvalidTxnState = 48, "INVALID_TXN_STATE", PLAIN, "The transaction is not in a state that allows this.";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", D, "The producer id is not the one of this transactional id.";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", D, "The transaction time-out is above the broker's limit.";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", PLAIN, "The transaction before is still being completed.";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", D, "The marker comes from a coordinator that has been replaced.";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", D, "Not allowed on this transactional id.";
    SecurityDisabled = 54, "SECURITY_DISABLED", D, "The broker runs without security.";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", D, "Not tried, because another part of the request failed.";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", M, "The disk under the partition has failed.";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", D, "The broker has no such log directory.";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", D, "Authentication failed.";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", D, "The broker has forgotten this producer, or never knew it.";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", D, "Replicas of the partition are being moved.";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", D, "Delegation tokens are off.";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", D, "No such delegation token.";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", D, "The delegation token belongs to somebody else.";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", D, "Delegation tokens are not given out on this connection.";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", D, "Not allowed on this delegation token.";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", D, "The delegation token has run out.";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", D, "No such kind of principal.";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", D, "The group still has members.";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", D, "No such group.";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", RD, "The broker has dropped the fetch session.";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", RD, "The fetch session is at another epoch.";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", M, "The leader has no listener of the name the client used.";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", D, "delete.topic.enable is false.";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", M | D, "The request names a leader epoch that is over.";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", RD, "The request names a leader epoch this broker has not heard of yet.";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", D, "The version of the request cannot carry this compression.";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", D, "The request speaks of an earlier life of the broker.";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", RD, "The new leader's high watermark has not reached its epoch yet.";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", D, "Join again with the member id in this response.";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", M | D, "The first replica of the assignment cannot lead now.";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", D, "The group is full.";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", D, "Another process uses the same group.instance.id.";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", M | D, "No replica can be elected.";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", M | D, "The partition has the wanted leader already.";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", D, "Nothing is being moved.";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", D, "The group is still subscribed to the topic.";
    InvalidRecord = 87, "INVALID_RECORD", D, "The broker's validation refused a record.";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", RD, "A transaction over these offsets has not ended.";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", RD, "A quota is used up.";
    ProducerFenced = 90, "PRODUCER_FENCED", PLAIN, "A newer producer of the same transactional id has taken over.";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", D, "The request names something that does not exist.";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", D, "The request names the same thing twice.";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", D, "The credential is too weak.";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", D, "Sender or receiver is no voter of the quorum.";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", D, "Another update came first.";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", PLAIN, "The feature levels could not be written.";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", D, "The forwarded principal cannot be read.";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", D, "No such snapshot.";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", D, "The position lies outside the snapshot.";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", M, "This broker does not know the topic id.";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", D, "The broker id is in use.";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", D, "No broker is registered under this id.";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", M, "The log on disk belongs to another topic of the same name.";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", D, "The request is meant for another cluster.";
}

impl ErrorCode {
    /// There is no error.
    pub const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }

    /// There is an error.
    pub const fn is_error(self) -> bool {
        !self.is_none()
    }

    /// Whether Kafka's clients try again (`RetriableException`). `CONCURRENT_TRANSACTIONS` is not in that family in 2.8,
    /// although the transaction manager repeats it by a rule of its own.
    pub const fn is_retriable(self) -> bool {
        self.flags() & R != 0
    }

    /// Whether it tells the client that its metadata is stale (`InvalidMetadataException`).
    pub const fn invalidates_metadata(self) -> bool {
        self.flags() & M == M
    }

    /// Whether the request that was answered so certainly had no effect.
    ///
    /// It speaks of this one request: an earlier try of the same operation may have worked (a batch answered
    /// `OUT_OF_ORDER_SEQUENCE_NUMBER` on its second try). Several codes look definite and are not: a produce that waits
    /// for replicas is answered `NOT_LEADER_OR_FOLLOWER`, `UNKNOWN_TOPIC_OR_PARTITION` or `KAFKA_STORAGE_ERROR`
    /// *after* its append when leadership moves (`DelayedProduce`), the coordinators translate a failed replication of
    /// their own log into `NOT_COORDINATOR` and `COORDINATOR_NOT_AVAILABLE`, and the end of a transaction can be
    /// answered `PRODUCER_FENCED` when the decision is written already.
    pub const fn is_definite(self) -> bool {
        self.flags() & D != 0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for ErrorCode {}

macro_rules! keeper_errors {
    ($($variant:ident = $code:literal, $name:literal, $definite:literal, $message:literal;)*) => {
        /// A ZooKeeper error, named as in `KeeperException.Code`. Success is the absence of one.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum KeeperError {
            $(#[doc = $message] #[serde(rename = $name)] $variant,)*
        }

        impl KeeperError {
            /// Every error.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            pub const fn code(self) -> i32 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The error of a number; none for 0 and for numbers ZooKeeper does not use.
            pub const fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// ZooKeeper's name, `NODEEXISTS`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One short sentence.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }

            /// Whether the request that was answered so certainly had no effect.
            pub const fn is_definite(self) -> bool {
                match self { $(Self::$variant => $definite,)* }
            }
        }
    };
}

keeper_errors! {
    SystemError = -1, "SYSTEMERROR", false, "The server failed.";
    RuntimeInconsistency = -2, "RUNTIMEINCONSISTENCY", true, "An operation of a multi after the one that failed: not done.";
    DataInconsistency = -3, "DATAINCONSISTENCY", false, "The server's data contradict themselves.";
    ConnectionLoss = -4, "CONNECTIONLOSS", false, "The connection broke; whether the request was done is not known.";
    MarshallingError = -5, "MARSHALLINGERROR", true, "The request cannot be read.";
    Unimplemented = -6, "UNIMPLEMENTED", true, "The server does not know this operation.";
    OperationTimeout = -7, "OPERATIONTIMEOUT", false, "No answer in time.";
    BadArguments = -8, "BADARGUMENTS", true, "The request makes no sense, for instance an illegal path.";
    NoNode = -101, "NONODE", true, "The znode does not exist.";
    NoAuth = -102, "NOAUTH", true, "Not allowed by the znode's ACL.";
    BadVersion = -103, "BADVERSION", true, "The znode has another version than the one given.";
    NoChildrenForEphemerals = -108, "NOCHILDRENFOREPHEMERALS", true, "An ephemeral znode cannot have children.";
    NodeExists = -110, "NODEEXISTS", true, "The znode exists.";
    NotEmpty = -111, "NOTEMPTY", true, "The znode has children.";
    SessionExpired = -112, "SESSIONEXPIRED", false, "The ensemble has ended the session and removed its ephemeral znodes.";
    InvalidCallback = -113, "INVALIDCALLBACK", true, "The callback is not usable.";
    InvalidAcl = -114, "INVALIDACL", true, "The ACL is empty or malformed.";
    AuthFailed = -115, "AUTHFAILED", true, "Authentication failed.";
    SessionMoved = -118, "SESSIONMOVED", true, "The session is served by another server now, so the request was ignored.";
    NotReadOnly = -119, "NOTREADONLY", true, "A write at a server that only reads.";
    NoWatcher = -121, "NOWATCHER", true, "No such watch.";
    RequestTimeout = -122, "REQUESTTIMEOUT", false, "The client's own limit for a request has passed.";
}

impl fmt::Display for KeeperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for KeeperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for KeeperError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_again_by_number_and_by_name() {
        for &error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(error.code()), error);
            assert_eq!(ErrorCode::from_name(error.name()), Some(error));
            let json = serde_json::to_string(&error).unwrap();
            assert_eq!(json, format!("\"{}\"", error.name()));
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).unwrap(), error);
        }
        for &error in KeeperError::ALL {
            assert_eq!(KeeperError::from_code(error.code()), Some(error));
        }
    }

    #[test]
    fn the_codes_of_2_8_leave_no_gap() {
        let codes: Vec<i16> = ErrorCode::ALL
            .iter()
            .map(|error| error.code())
            .filter(|code| *code >= 0)
            .collect();
        assert_eq!(codes, (0..=104).collect::<Vec<_>>());
        assert_eq!(ErrorCode::from_code(999), ErrorCode::UnknownServerError);
    }

    #[test]
    fn what_makes_metadata_stale_is_retriable() {
        for error in ErrorCode::ALL
            .iter()
            .filter(|error| error.invalidates_metadata())
        {
            assert!(error.is_retriable(), "{error}");
        }
        assert!(ErrorCode::NotLeaderOrFollower.invalidates_metadata());
        assert!(!ErrorCode::NotEnoughReplicas.invalidates_metadata());
        assert!(!ErrorCode::ConcurrentTransactions.is_retriable());
        assert!(!ErrorCode::OutOfOrderSequenceNumber.is_retriable());
    }

    #[test]
    fn an_answer_that_can_follow_an_append_is_not_definite() {
        for error in [
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::KafkaStorageError,
            ErrorCode::NotEnoughReplicasAfterAppend,
            ErrorCode::RequestTimedOut,
            ErrorCode::NetworkException,
            ErrorCode::UnknownServerError,
        ] {
            assert!(!error.is_definite(), "{error}");
        }
        assert!(ErrorCode::NotEnoughReplicas.is_definite());
        assert!(ErrorCode::MessageTooLarge.is_definite());
        assert!(!KeeperError::ConnectionLoss.is_definite());
        assert!(KeeperError::BadVersion.is_definite());
    }
}
