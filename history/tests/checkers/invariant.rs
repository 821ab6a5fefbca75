//! Invariants of brokers and keepers, from the inside.

use crate::builder::{Builder, orders};
use crate::kept::{acquits, convicts};
use crate::v;
use history::event::{Controller, ElectionKind, Replica, What};
use history::manifest::CommitPolicy;
use protocol::ids::{BrokerId, ControllerEpoch, LeaderEpoch, Offset, PartitionEpoch};

#[test]
fn inv_leader_convicts_two_leaders_in_one_epoch_only() {
    for (name, epoch) in [("inv-leader-bad", 1), ("inv-leader-near", 2)] {
        let mut b = Builder::new(name);
        b.elect(1, 1, ElectionKind::New, &[1, 2, 3], 0);
        b.elect(2, epoch, ElectionKind::Clean, &[2, 3], 0);
        let history = b.finish(&[]);
        if epoch == 1 {
            convicts(&history, "INV-LEADER", "INV-LEADER");
        } else {
            acquits(&history, "INV-LEADER", 0);
        }
    }
}

#[test]
fn inv_controller_convicts_two_controllers_in_one_epoch_only() {
    for (name, second) in [("inv-controller-bad", 1), ("inv-controller-near", 2)] {
        let mut b = Builder::new(name);
        for (node, epoch) in [(0, 1), (1, second)] {
            let elected = Controller::Elected {
                epoch: ControllerEpoch(epoch),
            };
            b.at(Some(node), What::Controller(elected));
        }
        let history = b.finish(&[]);
        if second == 1 {
            convicts(&history, "INV-CONTROLLER", "INV-CONTROLLER");
        } else {
            acquits(&history, "INV-CONTROLLER", 0);
        }
    }
}

#[test]
fn inv_isr_convicts_a_leader_out_of_sync_only() {
    for (name, isr) in [("inv-isr-bad", vec![2, 3]), ("inv-isr-near", vec![1])] {
        let mut b = Builder::new(name);
        b.born();
        let bad = isr.len() == 2;
        b.at(
            Some(0),
            What::Controller(Controller::IsrWritten {
                partition: orders(),
                isr: isr.into_iter().map(BrokerId).collect(),
                leader_epoch: LeaderEpoch(0),
                partition_epoch: PartitionEpoch(1),
            }),
        );
        let history = b.finish(&[]);
        if bad {
            convicts(&history, "INV-ISR", "INV-ISR");
        } else {
            acquits(&history, "INV-ISR", 0);
        }
    }
}

#[test]
fn inv_hw_convicts_a_mark_that_goes_back_unless_the_log_was_cut() {
    for (name, cut) in [("inv-hw-bad", false), ("inv-hw-near", true)] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.append(&[1, 2, 3], 1, 0, v(1));
        b.high_watermark(&[1, 2], 2);
        if cut {
            b.truncate(2, 1, 2, "leader_epoch");
        }
        b.high_watermark(&[2], 1);
        let history = b.finish(&[]);
        if cut {
            acquits(&history, "INV-HW", 0);
        } else {
            convicts(&history, "INV-HW", "INV-HW");
        }
    }
}

#[test]
fn inv_log_convicts_a_difference_below_the_high_watermark_only() {
    for (name, mark) in [("inv-log-bad", 1), ("inv-log-near", 0)] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1], 0, 0, v(0));
        b.append(&[2], 0, 0, v(1));
        b.high_watermark(&[1], 1);
        b.high_watermark(&[2], mark);
        b.append(&[3], 0, 0, v(0));
        b.high_watermark(&[3], 1);
        let history = b.finish(&[]);
        if mark == 1 {
            convicts(&history, "INV-LOG", "INV-LOG");
        } else {
            acquits(&history, "INV-LOG", 0);
        }
    }
}

#[test]
fn inv_log_says_nothing_about_what_the_leader_has_deleted() {
    for (name, begin) in [("inv-log-deleted-bad", 1), ("inv-log-deleted-near", 2)] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.append(&[1, 2], 1, 0, v(1));
        b.append(&[3], 1, 1, v(1));
        b.elect(1, 2, ElectionKind::Clean, &[1, 2], 2);
        b.high_watermark(&[1, 2], 2);
        b.broker(1, Replica::LogStart(Offset(begin)));
        b.high_watermark(&[3], 2);
        let history = b.finish(&[]);
        if begin == 1 {
            convicts(&history, "INV-LOG", "INV-LOG");
        } else {
            acquits(&history, "INV-LOG", 0);
        }
    }
}

#[test]
fn inv_complete_convicts_a_clean_leader_without_what_was_committed_only() {
    for (name, kind) in [
        ("inv-complete-bad", ElectionKind::Clean),
        ("inv-complete-near", ElectionKind::Unclean),
    ] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1], 0, 0, v(0));
        b.high_watermark(&[1], 1);
        b.elect(2, 1, kind, &[2], 0);
        let history = b.finish(&[]);
        if kind == ElectionKind::Clean {
            convicts(&history, "INV-COMPLETE", "INV-COMPLETE");
        } else {
            acquits(&history, "INV-COMPLETE", 0);
        }
    }
}

#[test]
fn inv_quorum_convicts_a_leader_that_leaves_out_whom_the_controller_let_in() {
    for (name, waits_for) in [
        ("inv-quorum-bad", vec![1, 2]),
        ("inv-quorum-near", vec![1, 2, 3]),
    ] {
        let mut b = Builder::new(name);
        b.elect(1, 1, ElectionKind::New, &[1, 2], 0);
        let bad = waits_for.len() == 2;
        b.let_in(1, 1, &[1, 2, 3], &waits_for);
        let history = b.finish(&[]);
        if bad {
            convicts(&history, "INV-QUORUM", "INV-QUORUM");
        } else {
            acquits(&history, "INV-QUORUM", 0);
        }
    }
}

#[test]
fn inv_valid_hw_convicts_a_member_without_what_is_committed_only() {
    for (name, holders) in [
        ("inv-valid-hw-bad", vec![1, 2]),
        ("inv-valid-hw-near", vec![1, 2, 3]),
    ] {
        let mut b = Builder::new(name);
        b.elect(1, 1, ElectionKind::New, &[1, 2], 0);
        b.append(&[1, 2, 3], 0, 1, v(0));
        b.append(&holders, 1, 1, v(1));
        b.high_watermark(&[1], 2);
        b.let_in(1, 1, &[1, 2, 3], &[1, 2, 3]);
        let history = b.finish(&[]);
        if holders.len() == 2 {
            convicts(&history, "INV-VALID-HW", "INV-VALID-HW");
        } else {
            acquits(&history, "INV-VALID-HW", 0);
        }
    }
}

#[test]
fn inv_log_excuses_what_lost_disks_hide_within_one_epoch() {
    for (name, lossy) in [
        ("inv-log-one-disk-bad", vec![]),
        ("inv-log-two-disks-near", vec![1, 2]),
    ] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.high_watermark(&[1, 2, 3], 1);
        if lossy.is_empty() {
            b.kill(1);
            b.loaded(1, 0);
        }
        for broker in &lossy {
            b.power_loss(*broker, 0);
        }
        b.lead(1, 0, &[1, 2, 3], 0);
        b.append(&[1], 0, 0, v(1));
        b.high_watermark(&[1], 1);
        b.high_watermark(&[3], 1);
        let history = b.finish(&[]);
        if lossy.is_empty() {
            convicts(&history, "INV-COMPLETE", "INV-COMPLETE");
            convicts(&history, "INV-LOG", "INV-LOG");
        } else {
            acquits(&history, "INV-COMPLETE", 0);
            acquits(&history, "INV-LOG", 0);
        }
    }
}

#[test]
fn inv_strong_isr_convicts_a_member_that_cuts_what_is_committed_only() {
    for (name, to) in [("inv-strong-isr-bad", 1), ("inv-strong-isr-near", 2)] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.append(&[1, 2, 3], 1, 0, v(1));
        b.append(&[1, 2], 2, 0, v(2));
        b.high_watermark(&[1], 2);
        b.truncate(2, to, 3, "high_watermark");
        let history = b.finish(&[]);
        if to == 1 {
            convicts(&history, "INV-STRONG-ISR", "INV-STRONG-ISR");
        } else {
            acquits(&history, "INV-STRONG-ISR", 0);
        }
    }
}

/// The keeper did what a controller asked, and the controller was replaced before it heard of it.
#[test]
fn inv_strong_isr_takes_the_word_of_a_leader_of_whose_election_nobody_told() {
    for (name, isr) in [
        ("inv-strong-isr-untold-bad", &[2, 3]),
        ("inv-strong-isr-untold-near", &[2, 1]),
    ] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.high_watermark(&[1, 2, 3], 1);
        b.lead(2, 1, isr, 1);
        b.append(&[1, 2], 1, 1, v(1));
        b.high_watermark(&[2], 2);
        let history = b.finish(&[]);
        if isr.contains(&3) {
            convicts(&history, "INV-STRONG-ISR", "INV-STRONG-ISR");
        } else {
            acquits(&history, "INV-STRONG-ISR", 0);
        }
    }
}

/// A controller tells of an in-sync set; the leader takes it in and hears late of what was there before.
#[test]
fn inv_strong_isr_believes_the_controller_rather_than_a_leader_that_hears_late() {
    for (name, told) in [
        ("inv-strong-isr-late-near", &[2, 1][..]),
        ("inv-strong-isr-late-bad", &[2, 3][..]),
    ] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.high_watermark(&[1, 2, 3], 1);
        b.isr_told(1, told);
        b.lead(2, 1, &[2, 1, 3], 1);
        b.append(&[1, 2], 1, 1, v(1));
        b.high_watermark(&[2], 2);
        let history = b.finish(&[]);
        if told.contains(&3) {
            convicts(&history, "INV-STRONG-ISR", "INV-STRONG-ISR");
        } else {
            acquits(&history, "INV-STRONG-ISR", 0);
        }
    }
}

/// The leader starts again in its own epoch and is given the in-sync replicas: the third among them, or no more.
#[test]
fn inv_strong_isr_hears_from_a_leader_that_starts_again_who_has_been_taken_out() {
    for (name, isr) in [
        ("inv-strong-isr-again-bad", &[1, 2, 3][..]),
        ("inv-strong-isr-again-near", &[1, 2][..]),
    ] {
        let mut b = Builder::new(name);
        b.elect(1, 0, ElectionKind::New, &[1, 2, 3], 0);
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.high_watermark(&[1, 2, 3], 1);
        b.append(&[1, 2], 1, 0, v(1));
        b.lead(1, 0, isr, 2);
        b.high_watermark(&[1], 2);
        let history = b.finish(&[]);
        if isr.len() == 3 {
            convicts(&history, "INV-STRONG-ISR", "INV-STRONG-ISR");
        } else {
            acquits(&history, "INV-STRONG-ISR", 0);
        }
    }
}

#[test]
fn inv_read_convicts_a_leader_that_cuts_what_was_read_only() {
    for (name, read) in [("inv-read-bad", true), ("inv-read-near", false)] {
        let mut b = Builder::new(name);
        let c = b.consumer(CommitPolicy::Never);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.append(&[1, 2, 3], 1, 0, v(1));
        b.high_watermark(&[1], 2);
        let records: &[_] = if read {
            &[(0, v(0)), (1, v(1))]
        } else {
            &[(0, v(0))]
        };
        b.polled(c, records);
        b.truncate(1, 1, 2, "diverging_epoch");
        let history = b.finish(&[]);
        if read {
            convicts(&history, "INV-READ", "INV-READ");
        } else {
            acquits(&history, "INV-READ", 0);
        }
    }
}

#[test]
fn inv_read_hw_convicts_a_read_above_every_mark_of_a_leader_only() {
    for (name, mark) in [("inv-read-hw-bad", 1), ("inv-read-hw-near", 2)] {
        let mut b = Builder::new(name);
        let c = b.consumer(CommitPolicy::Never);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.append(&[1], 1, 0, v(1));
        b.high_watermark(&[1], mark);
        b.polled(c, &[(0, v(0)), (1, v(1))]);
        let history = b.finish(&[]);
        if mark == 1 {
            convicts(&history, "INV-READ-HW", "INV-READ-HW");
        } else {
            acquits(&history, "INV-READ-HW", 0);
        }
    }
}

#[test]
fn inv_read_hw_hears_a_leader_that_was_told_to_stop_until_its_log_is_deleted() {
    for (name, deleted) in [
        ("inv-read-hw-stopped-bad", true),
        ("inv-read-hw-stopped-near", false),
    ] {
        let mut b = Builder::new(name);
        let c = b.consumer(CommitPolicy::Never);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.high_watermark(&[1], 1);
        b.append(&[1, 2, 3], 1, 0, v(1));
        b.broker(1, Replica::Stopped { deleted });
        b.high_watermark(&[1], 2);
        b.polled(c, &[(0, v(0)), (1, v(1))]);
        let history = b.finish(&[]);
        if deleted {
            convicts(&history, "INV-READ-HW", "INV-READ-HW");
        } else {
            acquits(&history, "INV-READ-HW", 0);
        }
    }
}

#[test]
fn inv_keeper_convicts_two_meanings_of_one_transaction_only() {
    for (name, digest) in [("inv-keeper-bad", 9), ("inv-keeper-near", 2)] {
        let mut b = Builder::new(name);
        b.keeper(1, 1, 1);
        b.keeper(1, 2, 2);
        b.keeper(2, 1, 1);
        b.keeper(2, 2, digest);
        let history = b.finish(&[]);
        if digest == 9 {
            convicts(&history, "INV-KEEPER", "INV-KEEPER");
        } else {
            acquits(&history, "INV-KEEPER", 0);
        }
    }
}

#[test]
fn inv_keeper_convicts_a_transaction_left_out() {
    let mut b = Builder::new("inv-keeper-skip-bad");
    for zxid in 1..4 {
        b.keeper(1, zxid, 7);
    }
    b.keeper(2, 1, 7);
    b.keeper(2, 3, 7);
    convicts(&b.finish(&[]), "INV-KEEPER", "INV-KEEPER");
}

#[test]
fn inv_keeper_convicts_a_server_that_is_behind_its_client_only() {
    for (name, seen) in [("inv-keeper-image-bad", 2), ("inv-keeper-image-near", 1)] {
        let mut b = Builder::new(name);
        b.keeper(1, 1, 1);
        b.keeper(1, 2, 2);
        b.keeper(2, 1, 1);
        b.resumed_at(2, seen);
        b.keeper(2, 2, 2);
        let history = b.finish(&[]);
        if seen == 2 {
            convicts(&history, "INV-KEEPER", "INV-KEEPER");
        } else {
            acquits(&history, "INV-KEEPER", 0);
        }
    }
}

#[test]
fn inv_keeper_convicts_a_tree_that_is_not_that_of_the_others_once() {
    for (name, restored) in [("inv-keeper-state-bad", 9), ("inv-keeper-state-near", 22)] {
        let mut b = Builder::new(name);
        for (zxid, state) in [(1, 11), (2, 22), (3, 33)] {
            b.keeper_state(1, zxid, state);
        }
        // It comes back with what its disk shows, and goes on from there.
        b.keeper_restored(2, 2, restored);
        b.keeper_state(2, 3, restored + 11);
        let history = b.finish(&[]);
        if restored == 9 {
            convicts(&history, "INV-KEEPER", "INV-KEEPER");
        } else {
            acquits(&history, "INV-KEEPER", 0);
        }
    }
}

#[test]
fn inv_hw_convicts_a_mark_above_the_end_of_the_log() {
    for (name, mark) in [("inv-hw-end-bad", 2), ("inv-hw-end-near", 1)] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.high_watermark(&[2], mark);
        let history = b.finish(&[]);
        if mark == 2 {
            convicts(&history, "INV-HW", "INV-HW");
        } else {
            acquits(&history, "INV-HW", 0);
        }
    }
}

#[test]
fn inv_read_convicts_a_new_leader_without_what_was_read_unless_its_election_was_unclean() {
    for (name, kind) in [
        ("inv-read-leader-bad", ElectionKind::Clean),
        ("inv-read-leader-near", ElectionKind::Unclean),
    ] {
        let mut b = Builder::new(name);
        let c = b.consumer(CommitPolicy::Never);
        b.born();
        b.append(&[1], 0, 0, v(0));
        b.high_watermark(&[1], 1);
        b.polled(c, &[(0, v(0))]);
        b.elect(2, 1, kind, &[2], 0);
        let history = b.finish(&[]);
        if kind == ElectionKind::Clean {
            convicts(&history, "INV-READ", "INV-READ");
        } else {
            acquits(&history, "INV-READ", 0);
        }
    }
}

#[test]
fn inv_keeper_convicts_a_transaction_applied_after_a_later_one() {
    for (name, order) in [
        ("inv-keeper-order-bad", [1, 3, 2]),
        ("inv-keeper-order-near", [1, 2, 3]),
    ] {
        let mut b = Builder::new(name);
        for zxid in order {
            b.keeper(1, zxid, 7);
        }
        let history = b.finish(&[]);
        if order[1] == 3 {
            convicts(&history, "INV-KEEPER", "INV-KEEPER");
        } else {
            acquits(&history, "INV-KEEPER", 0);
        }
    }
}
