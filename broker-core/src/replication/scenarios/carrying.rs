//! The world between the brokers: connections, timers, flushes, crashes, and what a test holds back.

use super::*;

impl Cluster {
    pub(super) fn start(&mut self, id: i32, disk: MemoryDisk) {
        let config = Arc::new(self.config.clone());
        let life = self.now.mono.0;
        let manager = ReplicaManager::new(config, self.behaviour, BrokerId(id), life);
        let node = Node {
            manager,
            requests: RequestChannel::new(self.behaviour),
            disk,
            timers: BTreeMap::new(),
            up: true,
        };
        self.nodes.insert(id, node);
        self.call(id, |manager, step| manager.on_started(step.now, step.io));
    }

    /// The process dies; what the page cache held survives, as the machine does.
    pub(super) fn kill(&mut self, id: i32) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.up = false;
        node.timers.clear();
        let gone: Vec<ConnectionId> = self
            .links
            .iter()
            .filter(|(_, (owner, _))| *owner == id)
            .map(|(own, _)| *own)
            .collect();
        for own in gone {
            self.cut(own);
        }
        self.run();
    }

    pub(super) fn cut(&mut self, own: ConnectionId) {
        if let Some((_, other)) = self.links.remove(&own)
            && let Some((owner, _)) = self.links.remove(&other)
        {
            let input = Input::Closed {
                connection: other,
                reason: CloseReason::Reset,
            };
            self.queue.push_back((owner, input));
        }
    }

    pub(super) fn restart(&mut self, id: i32) {
        let disk = self.nodes[&id].disk.clone();
        self.start(id, disk);
    }

    /// Power fails: nothing that was not flushed survives.
    pub(super) fn power_fail(&mut self, id: i32) {
        self.kill(id);
        self.nodes.get_mut(&id).unwrap().disk.crash(|_| 0);
    }

    /// Calls into a broker and carries out what it wants.
    pub(super) fn call<R>(
        &mut self,
        id: i32,
        act: impl FnOnce(&mut ReplicaManager, &mut Step<'_, '_>) -> R,
    ) -> R {
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        let mut effects = Vec::new();
        let mut io = Io::new(&mut node.disk, &mut effects, &mut self.next_connection);
        let mut step = Step {
            now,
            io: &mut io,
            requests: &mut node.requests,
        };
        let result = act(&mut node.manager, &mut step);
        self.carry_out(id, effects);
        result
    }

    pub(super) fn carry_out(&mut self, id: i32, effects: Vec<Stamped>) {
        for stamped in effects {
            match stamped.effect {
                Effect::Connect { connection, to } => self.connect(id, connection, &to),
                Effect::Send {
                    connection,
                    message,
                } => self.send(connection, message),
                Effect::Close { connection } => {
                    if self.links.contains_key(&connection) {
                        self.cut(connection);
                    } else {
                        self.closed.push(connection);
                    }
                }
                Effect::SetTimer { timer, at } => {
                    self.nodes.get_mut(&id).unwrap().timers.insert(timer, at);
                }
                Effect::CancelTimer { timer } => {
                    self.nodes.get_mut(&id).unwrap().timers.remove(&timer);
                }
                Effect::Flush { flush, files } => {
                    self.nodes.get_mut(&id).unwrap().disk.fsync(&files);
                    self.flushes.push((id, flush));
                }
                Effect::Queue { lane } => self.queue.push_back((id, Input::Due { lane })),
                Effect::Note(Note::Replica(_, note)) => self.notes.push((id, note)),
                Effect::Note(_) | Effect::Outcome { .. } => {}
                Effect::Exit { .. } => self.exits.push(id),
            }
        }
    }

    pub(super) fn connect(&mut self, id: i32, connection: ConnectionId, to: &Endpoint) {
        let peer: i32 = to.host.parse().unwrap();
        if !self.nodes[&peer].up {
            self.queue.push_back((id, Input::Refused { connection }));
            return;
        }
        let other = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.links.insert(connection, (id, other));
        self.links.insert(other, (peer, connection));
        let accepted = Input::Accepted {
            connection: other,
            port: to.port,
            from: Arc::from(id.to_string()),
        };
        self.queue.push_back((peer, accepted));
        self.queue.push_back((id, Input::Opened { connection }));
    }

    pub(super) fn send(&mut self, connection: ConnectionId, message: Message) {
        if let Message::Request(request) = &message
            && let RequestBody::Fetch(fetch) = &request.body
        {
            self.fetches.push(fetch.clone());
        }
        if let Some((_, other)) = self.links.get(&connection).copied() {
            let Some((owner, _)) = self.links.get(&other).copied() else {
                return;
            };
            let input = Input::Received {
                connection: other,
                message,
            };
            if self.holding.contains(&owner)
                && matches!(
                    &input,
                    Input::Received {
                        message: Message::Response(_),
                        ..
                    }
                )
            {
                self.held.push((owner, input));
            } else {
                self.queue.push_back((owner, input));
            }
        } else if let Message::Response(response) = message {
            self.answers.insert(response.correlation_id, response.body);
        }
    }

    /// Responses to a broker wait from now on: it neither learns nor fetches any more.
    pub(super) fn hold(&mut self, id: i32) {
        self.holding.push(id);
    }

    pub(super) fn release(&mut self, id: i32) {
        self.holding.retain(|held| *held != id);
        let (go, stay) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(owner, _)| *owner == id);
        self.held = stay;
        self.queue.extend(go);
        self.run();
    }

    /// Lets the fetchers that stand still go on.
    pub(super) fn let_lanes_go(&mut self) {
        self.hold_lane_after = None;
        self.queue.extend(std::mem::take(&mut self.held_lanes));
        self.run();
    }

    /// Handles everything that is due, without letting time pass.
    pub(super) fn run(&mut self) {
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 100_000, "the brokers do not come to rest");
            if let Some((id, input)) = self.queue.pop_front() {
                if self.nodes[&id].up {
                    self.input(id, input);
                }
            } else if !self.hold_flushes && !self.flushes.is_empty() {
                let (id, flush) = self.flushes.remove(0);
                self.flushed(id, flush);
            } else {
                return;
            }
        }
    }

    pub(super) fn flushed(&mut self, id: i32, flush: FlushId) {
        let (owner, number) = TimerOwner::of(TimerId(flush.0));
        assert_eq!(owner, TimerOwner::Log);
        self.call(id, |manager, step| manager.on_flushed(step, number, Ok(())));
    }

    pub(super) fn input(&mut self, id: i32, input: Input) {
        self.inputs += 1;
        let requests = &mut self.nodes.get_mut(&id).unwrap().requests;
        match input {
            Input::Accepted {
                connection, from, ..
            } => requests.on_accepted(connection, from),
            Input::Received {
                connection,
                ref message,
            } if requests.owns(connection) => {
                let message = message.clone();
                self.call(id, |_, step| {
                    step.requests.on_message(step.io, connection, message);
                });
            }
            Input::Closed { connection, reason } if requests.owns(connection) => {
                requests.on_closed(connection, reason);
            }
            Input::Opened { connection }
            | Input::Refused { connection }
            | Input::Closed { connection, .. }
            | Input::Received { connection, .. } => {
                self.call(id, |manager, step| {
                    if manager.owns(connection) {
                        manager.on_connection(step, connection, input);
                    }
                });
            }
            Input::Timer { timer } => {
                let (owner, number) = TimerOwner::of(timer);
                self.call(id, |manager, step| manager.on_timer(step, owner, number));
            }
            Input::Due {
                lane: Lane::RequestHandler,
            } => self.call(id, |manager, step| {
                if let Some(taken) = step.requests.take() {
                    let handled = manager.handle(step, taken);
                    assert!(!matches!(handled, Handled::NotMine(_)));
                }
            }),
            Input::Due {
                lane: Lane::Fetcher(source),
            } => match &mut self.hold_lane_after {
                Some((held, 0)) if *held == id => self.held_lanes.push((id, input)),
                Some((held, left)) if *held == id => {
                    *left -= 1;
                    self.call(id, |manager, step| manager.on_fetcher_due(step, source));
                }
                _ => self.call(id, |manager, step| manager.on_fetcher_due(step, source)),
            },
            other => panic!("nobody handles {other:?}"),
        }
    }

    /// Lets time pass, ringing timers in order.
    pub(super) fn pass(&mut self, span: Span) {
        let end = self.now.mono + span;
        self.run();
        loop {
            let due = self
                .nodes
                .iter()
                .flat_map(|(id, node)| node.timers.iter().map(|(timer, at)| (*at, *id, *timer)))
                .min()
                .filter(|(at, ..)| *at <= end);
            let Some((at, id, timer)) = due else { break };
            self.nodes.get_mut(&id).unwrap().timers.remove(&timer);
            self.now.mono = self.now.mono.max(at);
            self.queue.push_back((id, Input::Timer { timer }));
            self.run();
        }
        self.now.mono = end;
    }

    /// A client's request to a broker on a connection of its own; the number names the answer.
    pub(super) fn ask(
        &mut self,
        id: i32,
        version: i16,
        body: impl Into<RequestBody>,
    ) -> CorrelationId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let correlation_id = CorrelationId(self.next_correlation);
        self.next_correlation += 1;
        let request = Request {
            api_version: version,
            correlation_id,
            client_id: "test".into(),
            body: body.into(),
        };
        let accepted = Input::Accepted {
            connection,
            port: 9092,
            from: Arc::from("client"),
        };
        let received = Input::Received {
            connection,
            message: Message::Request(Box::new(request)),
        };
        self.queue.push_back((id, accepted));
        self.queue.push_back((id, received));
        self.run();
        correlation_id
    }
}
