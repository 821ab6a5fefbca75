//! `KafkaAdminClient`.

use protocol::behaviour::Behaviour;
use protocol::config::AdminConfig;
use protocol::ids::{ClientId, Endpoint};
use protocol::machine::{Input, Io, Machine};
use protocol::time::Now;
use protocol::verb::{ClientError, Failure, Outcome};
use std::sync::Arc;

/// `KafkaAdminClient`.
#[derive(Clone, Debug)]
pub struct Admin {
    config: Arc<AdminConfig>,
    bootstrap: Arc<[Endpoint]>,
    behaviour: Behaviour,
    client_id: ClientId,
    seed: u64,
}

impl Admin {
    /// A client that will look for its cluster at `bootstrap`. `config` is a finished one; `seed` decides the jitter of
    /// its backoffs and its free choices.
    pub fn new(
        config: Arc<AdminConfig>,
        bootstrap: Vec<Endpoint>,
        behaviour: Behaviour,
        client_id: ClientId,
        seed: u64,
    ) -> Self {
        Self {
            config,
            bootstrap: bootstrap.into(),
            behaviour,
            client_id,
            seed,
        }
    }
}

impl Machine for Admin {
    fn handle(&mut self, _now: Now, input: Input, io: &mut Io<'_>) {
        if let Input::Verb { operation, .. } = input {
            io.outcome(
                operation,
                Outcome::Done(Err(Failure::fail(ClientError::Closed))),
            );
        }
    }
}
