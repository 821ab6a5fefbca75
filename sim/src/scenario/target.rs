//! Whom a fault hits: a node by name, or by the role it has when the fault strikes.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A node or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Target {
    /// `broker 1`.
    Broker(i32),
    /// `keeper 1`.
    Keeper(i32),
    /// `client p1`.
    Client(String),
    /// `leader of orders-0`.
    LeaderOf(String),
    /// `follower of orders-0`: the first assigned replica that does not lead.
    FollowerOf(String),
    /// `followers of orders-0`.
    FollowersOf(String),
    /// `replicas of orders-0`.
    ReplicasOf(String),
    /// `controller`.
    Controller,
    /// `keeper leader`.
    KeeperLeader,
    /// `keeper followers`.
    KeeperFollowers,
    /// `coordinator of g1`.
    CoordinatorOf(String),
    /// `transaction coordinator of t1`.
    TransactionCoordinatorOf(String),
    /// `victim of NAME`: whom the fault of that name hit.
    VictimOf(String),
    /// `brokers`.
    Brokers,
    /// `keepers`.
    Keepers,
    /// `clients`.
    Clients,
    /// Several, separated by `, `.
    Several(Vec<Target>),
}

/// How targets are written, for messages and `describe`.
pub const FORMS: &str = "`broker 1`, `keeper 2`, `client p1`, `leader of orders-0`, `follower of orders-0`, `followers of orders-0`, \
    `replicas of orders-0`, `controller`, `keeper leader`, `keeper followers`, `coordinator of my-group`, `transaction coordinator of my-id`, `victim of my-fault`, \
    `brokers`, `keepers`, `clients`, or several of these separated by commas";

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` names no node: write {FORMS}");
        if text.contains(',') {
            let parts: Result<Vec<Self>, String> =
                text.split(',').map(|part| part.trim().parse()).collect();
            return parts.map(Self::Several);
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let id = |text: &str| text.parse::<i32>().map_err(|_| wrong());
        match words.as_slice() {
            ["controller"] => Ok(Self::Controller),
            ["brokers"] => Ok(Self::Brokers),
            ["keepers"] => Ok(Self::Keepers),
            ["clients"] => Ok(Self::Clients),
            ["keeper", "leader"] => Ok(Self::KeeperLeader),
            ["keeper", "followers"] => Ok(Self::KeeperFollowers),
            ["broker", number] => id(number).map(Self::Broker),
            ["keeper", number] => id(number).map(Self::Keeper),
            ["client", name] => Ok(Self::Client((*name).to_owned())),
            ["leader", "of", partition] => Ok(Self::LeaderOf((*partition).to_owned())),
            ["follower", "of", partition] => Ok(Self::FollowerOf((*partition).to_owned())),
            ["followers", "of", partition] => Ok(Self::FollowersOf((*partition).to_owned())),
            ["replicas", "of", partition] => Ok(Self::ReplicasOf((*partition).to_owned())),
            ["coordinator", "of", group] => Ok(Self::CoordinatorOf((*group).to_owned())),
            ["transaction", "coordinator", "of", id] => {
                Ok(Self::TransactionCoordinatorOf((*id).to_owned()))
            }
            ["victim", "of", fault] => Ok(Self::VictimOf((*fault).to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(id) => write!(f, "broker {id}"),
            Self::Keeper(id) => write!(f, "keeper {id}"),
            Self::Client(name) => write!(f, "client {name}"),
            Self::LeaderOf(partition) => write!(f, "leader of {partition}"),
            Self::FollowerOf(partition) => write!(f, "follower of {partition}"),
            Self::FollowersOf(partition) => write!(f, "followers of {partition}"),
            Self::ReplicasOf(partition) => write!(f, "replicas of {partition}"),
            Self::Controller => f.write_str("controller"),
            Self::KeeperLeader => f.write_str("keeper leader"),
            Self::KeeperFollowers => f.write_str("keeper followers"),
            Self::CoordinatorOf(group) => write!(f, "coordinator of {group}"),
            Self::TransactionCoordinatorOf(id) => write!(f, "transaction coordinator of {id}"),
            Self::VictimOf(fault) => write!(f, "victim of {fault}"),
            Self::Brokers => f.write_str("brokers"),
            Self::Keepers => f.write_str("keepers"),
            Self::Clients => f.write_str("clients"),
            Self::Several(all) => {
                let words: Vec<String> = all.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_prints_as_it_is_read() {
        let forms = [
            "broker 1",
            "keeper 2",
            "client p1",
            "leader of orders-0",
            "follower of orders-0",
            "followers of orders-0",
            "replicas of orders-0",
            "controller",
            "keeper leader",
            "keeper followers",
            "coordinator of g",
            "transaction coordinator of t",
            "victim of f",
            "brokers",
            "broker 1, keeper leader",
        ];
        for form in forms {
            assert_eq!(form.parse::<Target>().unwrap().to_string(), form);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_forms() {
        let error = "leeder of orders-0".parse::<Target>().unwrap_err();
        assert!(error.contains("leader of orders-0"), "{error}");
    }
}
