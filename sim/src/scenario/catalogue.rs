//! Every fault a scenario can ask for, in words: what it does, which keys it takes, and an example of each.
//!
//! What all faults share (`at`, `between`, `when`, `after`, `every`, `times`, `name`, `permanent`) is not repeated for each of
//! them; it stands with [`Fault`](super::format::Fault) and in `docs/scenario-language.md`.

/// Each word of `kind`, and what it stands for.
pub const FAULTS: &[(&str, &str)] = &[
    (
        "kill",
        "Ends the process at once, like `kill -9`: what is in the page cache survives, connections are reset, the keeper \
         session lives on until its time-out. Takes `target`, `restart_after` and `disk`. \
         Example: `kind = \"kill\", target = \"leader of orders-0\", at = \"10s\", restart_after = \"5s\"`.",
    ),
    (
        "power_failure",
        "Ends the process and loses what no flush has made durable; peers are told nothing. `unflushed` says what \
         becomes of unflushed bytes: as much of each file is kept as the seed draws (`drawn`), nothing (`lost`), \
         everything (`kept`), or everything with garbage at the end of each file (`torn`). Takes `target`, \
         `restart_after`, `disk` and `unflushed`. Example: `kind = \"power_failure\", target = \"brokers\", at = \
         \"10s\", unflushed = \"lost\", restart_after = \"1s\"`.",
    ),
    (
        "stop",
        "Asks the process to shut down in good order, as SIGTERM does: a broker moves its leaderships away, a \
         consumer finishes what it has polled and leaves its group. \
         Takes `target`, `restart_after` and `disk`. Example: `kind = \"stop\", target = \
         \"broker 2\", at = \"10s\", restart_after = \"20s\"`.",
    ),
    (
        "start",
        "Starts a node that is not running: a broker named in `cluster.absent`, or one that was killed or stopped. \
         Takes `target` and `disk`. Example: `kind = \"start\", target = \"broker 4\", at = \"10s\"`.",
    ),
    (
        "restart",
        "A kill whose victim comes back; without `restart_after` at once. Takes `target`, `restart_after` and `disk`. \
         Example: `kind = \"restart\", target = \"broker 1\", at = \"10s\", disk = \"empty\"`.",
    ),
    (
        "pause",
        "The process stands still, as in a long garbage collection, while the world goes on: its sessions expire, its \
         connections stay open. Takes `target` and `for` or `until`. \
         Example: `kind = \"pause\", target = \"controller\", at = \"10s\", for = \"30s\"`.",
    ),
    (
        "partition",
        "Silently loses what is sent between the target and `from`, or everybody else when `from` is absent; `direction` \
         (`both`, `from`, `to`, seen from the target) cuts one way only. Takes `target`, `from`, `direction` and `for` or \
         `until`. Example: `kind = \"partition\", target = \"broker 1\", from = \"keepers\", at = \"10s\", for = \"20s\"`.",
    ),
    (
        "delay",
        "Makes a link slower by `by`, in the direction named. Takes `from`, `to`, `by` and `for` or `until`. \
         Example: `kind = \"delay\", from = \"broker 1\", to = \"broker 2\", by = \"200ms\", at = \"10s\", for = \"5s\"`.",
    ),
    (
        "bandwidth",
        "Limits a link to `bandwidth` bytes per second. Takes `from`, `to`, `bandwidth` and `for` or `until`. \
         Example: `kind = \"bandwidth\", from = \"broker 1\", to = \"broker 2\", bandwidth = 10000, at = \"10s\", for = \"5s\"`.",
    ),
    (
        "loss",
        "Loses `per_mille` of a thousand packets of a link; TCP sends them again, so that messages come late, and a \
         connection that cannot get through is reset. Takes `from`, `to`, `per_mille` and `for` or `until`. \
         Example: `kind = \"loss\", from = \"clients\", to = \"brokers\", per_mille = 50, at = \"10s\", for = \"30s\"`.",
    ),
    (
        "hold",
        "The messages that match wait, and everything behind them on their connections, until the fault ends. Takes \
         `message`, `from`, `to`, `partition`, `leader_epoch`, `path`, `skip`, `count` and `for` or `until`. Example: \
         `kind = \"hold\", message = \"Fetch response\", from = \"leader of orders-0\", count = 1000, at = \"10s\"`.",
    ),
    (
        "drop",
        "The messages that match are lost, with everything behind them, and then the connection is reset. Takes \
         `message`, `from`, `to`, `partition`, `leader_epoch`, `path`, `skip` and `count`. Example: `kind = \"drop\", \
         message = \"Produce response\", to = \"client p1\", skip = 10, count = 1, at = \"0s\"`.",
    ),
    (
        "duplicate",
        "The messages that match arrive twice, which no TCP connection shows: needs `unfaithful = true` at the top of \
         the file. Takes `message`, `from`, `to`, `partition`, `leader_epoch`, `path`, `skip` and `count`. Example: \
         `kind = \"duplicate\", message = \"Produce request\", from = \"client p1\", at = \"10s\"`.",
    ),
    (
        "reorder",
        "Each message that matches is overtaken by the next one of its connection, which no TCP connection shows: \
         needs `unfaithful = true` at the top of the file. Takes `message`, `from`, `to`, `partition`, \
         `leader_epoch`, `path`, `skip` and `count`. Example: `kind = \"reorder\", message = \"Produce request\", \
         from = \"client p1\", partition = \"orders-0\", at = \"10s\"`.",
    ),
    (
        "lane_delay",
        "Work queued on one of a broker's threads is released later by `by`; without it the thread stands still until \
        the fault ends. Takes `target`, `lane` (`request_handler`, \
         `controller`, `keeper_callback`, `group_loader`, `transaction_loader`, `transaction_markers`, `background` \
         or `{ fetcher = 2 }`), `by` and `for` or `until`. \
         Example: `kind = \"lane_delay\", target = \"controller\", lane = \"controller\", by = \"2s\", at = \"10s\", for = \"20s\"`.",
    ),
    (
        "expire_session",
        "The leader of the ensemble ends the keeper session of the target at once, as an operator does with \
         `terminateSession` over JMX: its ephemeral znodes go, its connection is closed, and it learns of the expiry \
         when it comes back. Takes `target`. Example: `kind = \"expire_session\", target = \"controller\", at = \
         \"10s\"`.",
    ),
    (
        "clock_jump",
        "Moves a wall clock by `by`, forwards, or backwards with `backwards = true`; timers and sessions, which run on the \
         monotonic clock, do not notice. Takes `target`, `by` and `backwards`. \
         Example: `kind = \"clock_jump\", target = \"broker 1\", by = \"1h\", backwards = true, at = \"10s\"`.",
    ),
    (
        "clock_drift",
        "Both clocks of a node run fast by `ppm` parts per million, or slow where it is negative, until the fault \
         ends. Takes `target`, `ppm` and `for` or `until`. Example: `kind = \"clock_drift\", target = \"broker 1\", \
         ppm = -500, at = \"0s\", for = \"30s\"`.",
    ),
    (
        "slow_disk",
        "Disk operations take `factor` times as long. Takes `target`, `factor`, `directory` and `for` or `until`. \
         Example: `kind = \"slow_disk\", target = \"broker 1\", factor = 100, at = \"10s\", for = \"20s\"`.",
    ),
    (
        "stuck_disk",
        "Flushes do not end while it lasts, though the process and its keeper session live on. Takes `target`, `directory` and `for` or \
         `until`. Example: `kind = \"stuck_disk\", target = \"keeper leader\", at = \"10s\", for = \"20s\"`.",
    ),
    (
        "full_disk",
        "There is no room left for anything that grows. Takes `target`, `directory` and `for` or `until`. \
         Example: `kind = \"full_disk\", target = \"broker 1\", at = \"10s\", for = \"20s\"`.",
    ),
    (
        "broken_disk",
        "Every operation in the log directory fails with an input/output error: a broker takes the directory offline, \
         and dies with its last one; a keeper dies. Takes `target`, `directory` and `for` or `until`. Example: `kind \
         = \"broken_disk\", target = \"broker 1\", at = \"10s\", for = \"20s\"`.",
    ),
    (
        "snapshot_disk",
        "Remembers what all files of the target hold at this moment, for a restart with `disk = \"older\"`: a backup \
         or a snapshot of the volume that is put back. Takes `target`. Example: `kind = \"snapshot_disk\", target = \
         \"broker 1\", at = \"10s\"`.",
    ),
    (
        "corrupt",
        "Damages the `file` of this kind, of one `partition` where it belongs to one: `flip_bit` (of the first of the \
         last `bytes` bytes), `zeros` (they read as zeros), `cut` (they are missing) or `remove` (the whole file is \
         missing). Of several files the last is hit. A process that runs notices only where it reads the file again, \
         so that the fault usually follows a kill. Takes `target`, `file`, `partition`, `damage`, `bytes` and \
         `directory`. Example: `kind = \"corrupt\", target = \"broker 1\", file = \"log\", partition = \"orders-0\", \
         damage = \"cut\", bytes = 100, at = \"10s\"`.",
    ),
    (
        "elect_preferred",
        "The operator asks for the preferred leader of `partition`. Takes `partition`. \
         Example: `kind = \"elect_preferred\", partition = \"orders-0\", at = \"40s\"`.",
    ),
    (
        "elect_unclean",
        "The operator asks for a leader of `partition` from outside the ISR; Kafka grants it where there is no leader. Takes \
         `partition`. Example: `kind = \"elect_unclean\", partition = \"orders-0\", at = \"40s\"`.",
    ),
    (
        "add_partitions",
        "The operator raises a topic to `partitions` partitions in all. Takes `topic` and `partitions`. \
         Example: `kind = \"add_partitions\", topic = \"orders\", partitions = 8, at = \"30s\"`.",
    ),
    (
        "alter_config",
        "The operator changes settings of a topic while it is in use; every broker learns of it by a notice under \
         `/config/changes`. Takes `topic` and `config`. \
         Example: `kind = \"alter_config\", topic = \"orders\", config = { \"min.insync.replicas\" = 2 }, at = \"30s\"`.",
    ),
    (
        "delete_records",
        "The operator deletes the records of `partition` that lie `before` an offset or before the `\"high watermark\"`. Takes \
         `partition` and `before`. \
         Example: `kind = \"delete_records\", partition = \"orders-0\", before = 100, at = \"30s\"`.",
    ),
    (
        "reassign",
        "The operator moves `partition` to the brokers of `replicas`, preferred leader first; with `additional = false` not \
         while another move of it is under way. Takes `partition`, `replicas` and `additional`. \
         Example: `kind = \"reassign\", partition = \"orders-0\", replicas = [3,1], at = \"30s\"`.",
    ),
    (
        "cancel_reassignment",
        "The operator cancels the move of `partition`. Takes `partition`. \
         Example: `kind = \"cancel_reassignment\", partition = \"orders-0\", at = \"31s\"`.",
    ),
    (
        "delete_topic",
        "The operator deletes a topic. Takes `topic`. \
         Example: `kind = \"delete_topic\", topic = \"orders\", at = \"30s\"`.",
    ),
];

#[cfg(test)]
mod tests {
    use super::FAULTS;
    use crate::scenario::check::{Vocabulary, check};
    use crate::scenario::format::{Fault, FaultKind};
    use crate::scenario::parse::parse;

    #[test]
    fn every_kind_of_fault_is_described_once_and_in_order() {
        let words: Vec<&str> = FAULTS.iter().map(|(word, _)| *word).collect();
        let kinds: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.word()).collect();
        assert_eq!(words, kinds);
    }

    #[test]
    fn every_example_is_a_fault_that_the_checker_takes() {
        for (word, text) in FAULTS {
            let example = text
                .split("Example: `")
                .nth(1)
                .and_then(|rest| rest.split("`.").next())
                .unwrap();
            let fault: Fault = toml::from_str(&example.replace(", ", "\n")).unwrap();
            assert_eq!(fault.kind.get_ref().word(), *word);
            let file = format!(
                "title = 't'\nquestion = 'q'\nduration = '90s'\nunfaithful = true\ncluster.brokers = 4\n\
                 topic = [{{ name = 'orders' }}]\nproducer = [{{ name = 'p1', topic = 'orders' }}]\nfault = [{{ {example} }}]"
            );
            let file = parse(&file).unwrap_or_else(|complaint| panic!("{word}: {complaint:?}"));
            let checked = check(
                &file,
                "example.toml",
                &Vocabulary {
                    guarantees: &[],
                    ledger: &[],
                },
            );
            assert_eq!(checked.complaints, [], "{word}");
        }
    }

    #[test]
    fn a_description_names_the_keys_of_its_kind() {
        for ((word, text), kind) in FAULTS.iter().zip(FaultKind::ALL) {
            let takes = text.split("Takes ").nth(1).unwrap();
            for key in kind.keys() {
                assert!(takes.contains(&format!("`{key}`")), "{word}: {key}");
            }
        }
    }

    #[test]
    fn a_description_names_every_key_of_its_example() {
        for (word, text) in FAULTS {
            let (takes, example) = text.split_once("Example: `").unwrap();
            let keys = example
                .split(", ")
                .filter_map(|pair| pair.split_once(" = "))
                .map(|(key, _)| key);
            for key in keys.filter(|key| !["kind", "at"].contains(key)) {
                assert!(takes.contains(&format!("`{key}`")), "{word}: {key}");
            }
        }
    }
}
