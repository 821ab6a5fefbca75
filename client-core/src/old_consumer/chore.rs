//! What the consumer does to znodes, each a few operations one after the other (`ZkUtils`).
//!
//! A thread works through a list of chores; the next operation goes when the one before is answered, so that others may
//! change the tree in between, as they can between two blocking calls.

use super::session::Answer;
use bytes::Bytes;
use protocol::error_code::KeeperError;
use protocol::ids::SessionId;
use protocol::keeper::{CreateMode, KeeperOp, KeeperResult, Path};
use std::collections::VecDeque;
use std::sync::Arc;

/// How a node that exists is told to be one's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// It has the same content (`createEphemeralPathExpectConflict`).
    Content,
    /// It belongs to this session (`ZKCheckedEphemeral`, KAFKA-1387).
    Session,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub(super) enum Chore {
    /// `readDataMaybeNull`.
    Data { path: Path, watch: bool },
    /// `getChildrenParentMayNotExist`.
    Children { path: Path, watch: bool },
    /// `watchForData`, and the first half of `watchForChilds`.
    Watch(Path),
    /// `deletePath`: a node that is not there is as good as deleted.
    Delete(Path),
    /// `updatePersistentPath`: over any version, with parents.
    Put { path: Path, data: Bytes },
    /// An ephemeral node, with parents.
    Claim {
        path: Path,
        data: Bytes,
        proof: Proof,
    },
    /// `sync`, which no release called.
    Sync(Path),
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fact {
    /// The data of a node; none without a node.
    Data(Option<Bytes>),
    /// Its children; none without a node.
    Children(Option<Vec<Arc<str>>>),
    /// Done.
    Done,
    /// Somebody else has the node.
    Taken,
    /// It was somebody else's when it was to be made, and is gone now.
    Vanished,
}

/// Where the present chore is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    First,
    Second,
}

/// A list of chores under way.
#[derive(Clone, Debug)]
pub(super) struct Task {
    todo: VecDeque<Chore>,
    facts: Vec<Fact>,
    stage: Stage,
    /// Nodes to make first, the topmost last.
    parents: Vec<Path>,
}

impl Task {
    pub(super) fn new(chores: impl IntoIterator<Item = Chore>) -> Self {
        Self {
            todo: chores.into_iter().collect(),
            facts: Vec::new(),
            stage: Stage::First,
            parents: Vec::new(),
        }
    }

    pub(super) fn into_facts(self) -> Vec<Fact> {
        self.facts
    }

    /// The operation to send; none when everything is done.
    pub(super) fn next_op(&self) -> Option<KeeperOp> {
        let chore = self.todo.front()?;
        if let Some(parent) = self.parents.last() {
            return Some(create(parent, Bytes::new(), CreateMode::Persistent));
        }
        Some(match (chore, self.stage) {
            (Chore::Data { path, watch }, _) => KeeperOp::GetData {
                path: path.clone(),
                watch: *watch,
            },
            (Chore::Claim { path, .. }, Stage::Second) => KeeperOp::GetData {
                path: path.clone(),
                watch: false,
            },
            (Chore::Children { path, watch }, _) => KeeperOp::GetChildren {
                path: path.clone(),
                watch: *watch,
            },
            (Chore::Watch(path), _) => KeeperOp::Exists {
                path: path.clone(),
                watch: true,
            },
            (Chore::Delete(path), _) => KeeperOp::Delete {
                path: path.clone(),
                version: -1,
            },
            (Chore::Put { path, data }, Stage::First) => KeeperOp::SetData {
                path: path.clone(),
                data: data.clone(),
                version: -1,
            },
            (Chore::Put { path, data }, Stage::Second) => {
                create(path, data.clone(), CreateMode::Persistent)
            }
            (Chore::Claim { path, data, .. }, Stage::First) => {
                create(path, data.clone(), CreateMode::Ephemeral)
            }
            (Chore::Sync(path), _) => KeeperOp::Sync { path: path.clone() },
        })
    }

    /// Takes the answer to [`next_op`](Self::next_op).
    pub(super) fn answered(&mut self, answer: &Answer, session: Option<SessionId>) {
        let error = answer.as_ref().err().map(|failure| failure.error);
        if let Some(parent) = self.parents.last() {
            match above(parent).filter(|_| error == Some(KeeperError::NoNode)) {
                Some(higher) => self.parents.push(higher),
                None => {
                    self.parents.pop();
                }
            }
            return;
        }
        let Some(chore) = self.todo.front().cloned() else {
            return;
        };
        if let Some(fact) = self.fact(&chore, answer, session) {
            self.facts.push(fact);
            self.todo.pop_front();
            self.stage = Stage::First;
        }
    }

    /// What the answer says of the present chore; none when it takes another operation.
    fn fact(&mut self, chore: &Chore, answer: &Answer, session: Option<SessionId>) -> Option<Fact> {
        let error = answer.as_ref().err().map(|failure| failure.error);
        match (chore, self.stage) {
            (Chore::Data { .. }, _) => Some(Fact::Data(match answer {
                Ok(KeeperResult::Data(data, _)) => Some(data.clone()),
                Ok(_) | Err(_) => None,
            })),
            (Chore::Children { .. }, _) => Some(Fact::Children(match answer {
                Ok(KeeperResult::Children(names, _)) => Some(names.clone()),
                Ok(_) | Err(_) => None,
            })),
            (Chore::Put { .. }, Stage::First) if error == Some(KeeperError::NoNode) => {
                self.stage = Stage::Second;
                None
            }
            (Chore::Put { .. }, Stage::Second) if error == Some(KeeperError::NodeExists) => {
                self.stage = Stage::First;
                None
            }
            (Chore::Put { path, .. }, Stage::Second)
            | (Chore::Claim { path, .. }, Stage::First)
                if error == Some(KeeperError::NoNode) =>
            {
                self.parents.extend(above(path));
                None
            }
            (Chore::Claim { .. }, Stage::First) if error == Some(KeeperError::NodeExists) => {
                self.stage = Stage::Second;
                None
            }
            (Chore::Watch(_) | Chore::Delete(_) | Chore::Sync(_) | Chore::Put { .. }, _)
            | (Chore::Claim { .. }, Stage::First) => Some(Fact::Done),
            (Chore::Claim { data, proof, .. }, Stage::Second) => Some(match answer {
                Ok(KeeperResult::Data(stored, stat)) => {
                    let own = match proof {
                        Proof::Content => stored == data,
                        Proof::Session => Some(stat.ephemeral_owner) == session,
                    };
                    if own { Fact::Done } else { Fact::Taken }
                }
                Ok(_) | Err(_) => Fact::Vanished,
            }),
        }
    }
}

fn create(path: &Path, data: Bytes, mode: CreateMode) -> KeeperOp {
    KeeperOp::Create {
        path: path.clone(),
        data,
        mode,
    }
}

/// The parent of a path; none for one right below the root.
fn above(path: &str) -> Option<Path> {
    let (parent, _) = path.rsplit_once('/')?;
    (!parent.is_empty()).then(|| Path::from(parent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::keeper::{KeeperFailure, Stat};

    fn refused(error: KeeperError) -> Answer {
        Err(KeeperFailure {
            error,
            multi: Vec::new(),
        })
    }

    fn claim(proof: Proof) -> Task {
        Task::new([Chore::Claim {
            path: "/consumers/g/owners/t/0".into(),
            data: Bytes::from_static(b"g_a-0"),
            proof,
        }])
    }

    fn path(task: &Task) -> String {
        task.next_op()
            .map_or_else(String::new, |op| op.path().to_owned())
    }

    #[test]
    fn parents_that_are_missing_are_made_from_the_top() {
        let mut task = claim(Proof::Content);
        task.answered(&refused(KeeperError::NoNode), None);
        assert_eq!(path(&task), "/consumers/g/owners/t");
        task.answered(&refused(KeeperError::NoNode), None);
        assert_eq!(path(&task), "/consumers/g/owners");
        for made in ["/consumers/g/owners", "/consumers/g/owners/t"] {
            assert_eq!(path(&task), made);
            task.answered(&Ok(KeeperResult::Created(made.into())), None);
        }
        assert_eq!(path(&task), "/consumers/g/owners/t/0");
        task.answered(&Ok(KeeperResult::Created("".into())), None);
        assert!(task.next_op().is_none());
        assert_eq!(task.into_facts(), [Fact::Done]);
    }

    /// The node is there already, with this content and of session 7.
    fn found(proof: Proof, content: &'static [u8], session: i64) -> Vec<Fact> {
        let mut task = claim(proof);
        task.answered(&refused(KeeperError::NodeExists), None);
        let stat = Stat {
            ephemeral_owner: SessionId(7),
            ..Stat::default()
        };
        let stored = Ok(KeeperResult::Data(Bytes::from_static(content), stat));
        task.answered(&stored, Some(SessionId(session)));
        task.into_facts()
    }

    #[test]
    fn a_node_with_the_same_content_counts_as_ones_own_whoever_made_it() {
        assert_eq!(found(Proof::Content, b"g_a-0", 8), [Fact::Done]);
        assert_eq!(found(Proof::Content, b"g_b-0", 7), [Fact::Taken]);
    }

    #[test]
    fn a_node_of_the_same_session_counts_as_ones_own_whatever_it_says() {
        assert_eq!(found(Proof::Session, b"g_a-0", 8), [Fact::Taken]);
        assert_eq!(found(Proof::Session, b"g_a-0", 7), [Fact::Done]);
    }

    #[test]
    fn an_offset_is_written_over_any_version_and_its_node_made_when_it_is_missing() {
        let mut task = Task::new([Chore::Put {
            path: "/consumers/g/offsets/t/0".into(),
            data: Bytes::from_static(b"5"),
        }]);
        assert!(matches!(
            task.next_op(),
            Some(KeeperOp::SetData { version: -1, .. })
        ));
        task.answered(&refused(KeeperError::NoNode), None);
        assert!(matches!(
            task.next_op(),
            Some(KeeperOp::Create {
                mode: CreateMode::Persistent,
                ..
            })
        ));
        task.answered(&refused(KeeperError::NodeExists), None);
        assert!(matches!(task.next_op(), Some(KeeperOp::SetData { .. })));
    }
}
