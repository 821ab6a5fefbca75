//! The transaction log (`FileTxnLog`) with its group commit (`SyncRequestProcessor`): one flush is under way at a time, and
//! what is appended meanwhile shares the next.
//!
//! An entry is its Adler-32, its length, the transaction and a closing `B`. A file ends at the first entry that is not
//! whole: a torn write, which nobody was told of.

use super::{file, numbered};
use crate::codec::{Reader, Writer, adler32};
use crate::txn::Transaction;
use bytes::Bytes;
use protocol::disk::{Disk, DiskError, FileId};
use protocol::ids::Zxid;
use protocol::machine::{FlushId, Io};

const MAGIC: i32 = i32::from_be_bytes(*b"ZKLG");
const VERSION: i32 = 2;
const HEADER: u64 = 16;
const END_OF_RECORD: u8 = b'B';
const PREFIX: &str = "log.";

#[derive(Clone, Debug)]
struct Flight {
    flush: FlushId,
    up_to: Zxid,
}

/// The log files of one server.
#[derive(Clone, Debug)]
pub(crate) struct TxnLog {
    directory: String,
    /// `forceSync`: without it, whatever is in the page cache counts as safe.
    force_sync: bool,
    current: Option<FileId>,
    dirty: Vec<FileId>,
    /// Only what comes after it is known to be one history without a gap.
    base: Zxid,
    last: Zxid,
    durable: Zxid,
    flight: Option<Flight>,
    next_flush: u64,
    finished_flush: u64,
}

/// The whole entries of one file.
pub(crate) struct LogFile {
    /// Each with the position after it.
    pub(crate) entries: Vec<(Transaction, u64)>,
    /// Whether something torn follows.
    pub(crate) torn: bool,
}

impl LogFile {
    /// Where the file ends when it keeps what `keep` accepts.
    pub(crate) fn end_of(&self, keep: impl Fn(Zxid) -> bool) -> u64 {
        self.entries
            .iter()
            .take_while(|(transaction, _)| keep(transaction.zxid()))
            .last()
            .map_or(0, |(_, end)| *end)
    }
}

impl LogFile {
    /// The bytes that `PositionInputStream` did not count: those of the file's version and of each length that are zero.
    fn uncounted(&self, zxid: Zxid) -> u64 {
        let kept = self
            .entries
            .iter()
            .filter(|(transaction, _)| transaction.zxid() <= zxid);
        kept.fold(3, |sum, (transaction, _)| {
            let len = u32::try_from(transaction.bytes.len()).unwrap_or(u32::MAX);
            let zeros = len.to_be_bytes().map(|byte| u64::from(byte == 0));
            sum + zeros.iter().sum::<u64>()
        })
    }
}

/// Whether `next` can come right after `previous` in one history: no gap within an epoch, and each epoch begins at 1.
pub(crate) fn follows(previous: Zxid, next: Zxid) -> bool {
    next == previous.next() || (next.epoch() > previous.epoch() && next.counter() == 1)
}

impl TxnLog {
    pub(crate) fn new(directory: String, force_sync: bool) -> Self {
        Self {
            directory,
            force_sync,
            current: None,
            dirty: Vec::new(),
            base: Zxid::ZERO,
            last: Zxid::ZERO,
            durable: Zxid::ZERO,
            flight: None,
            next_flush: 0,
            finished_flush: 0,
        }
    }

    /// The last transaction appended.
    pub(crate) fn last(&self) -> Zxid {
        self.last
    }

    /// Everything up to here survives a power loss.
    pub(crate) fn durable(&self) -> Zxid {
        if self.force_sync {
            self.durable
        } else {
            self.last
        }
    }

    /// Whether nothing waits for a flush.
    pub(crate) fn is_clean(&self) -> bool {
        !self.force_sync || (self.dirty.is_empty() && self.flight.is_none())
    }

    /// The flush after which everything done so far is safe; see [`TxnLog::is_past`].
    pub(crate) fn barrier(&self) -> u64 {
        if !self.force_sync {
            0
        } else if self.dirty.is_empty() {
            self.flight.as_ref().map_or(0, |flight| flight.flush.0)
        } else {
            self.next_flush + 1
        }
    }

    /// Whether the flush of a barrier is over.
    pub(crate) fn is_past(&self, barrier: u64) -> bool {
        self.finished_flush >= barrier
    }

    /// The log goes on after `last`; everything up to `base` is safe in a snapshot, the rest waits for a flush: the life
    /// before may have ended between its write and its flush.
    pub(crate) fn restart_at(&mut self, base: Zxid, last: Zxid) {
        self.current = None;
        self.base = base;
        self.last = last;
        self.durable = if self.dirty.is_empty() { last } else { base };
        if let Some(flight) = &mut self.flight {
            flight.up_to = base;
        }
    }

    /// A file read at recovery: what is in the page cache need not be on the platter.
    pub(crate) fn mark_dirty(&mut self, first: Zxid, disk: &mut dyn Disk) {
        if let Some(id) = disk.find(&file(&self.directory, PREFIX, first))
            && !self.dirty.contains(&id)
        {
            self.dirty.push(id);
        }
    }

    /// Removes every file, the newest first: a snapshot holds all there is to know.
    pub(crate) fn clear(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        for first in numbered(disk, &self.directory, PREFIX).into_iter().rev() {
            disk.remove(&file(&self.directory, PREFIX, first))?;
        }
        self.current = None;
        self.dirty.clear();
        Ok(())
    }

    /// The next transaction begins a new file.
    pub(crate) fn roll(&mut self) {
        self.current = None;
    }

    pub(crate) fn append(
        &mut self,
        transaction: &Transaction,
        disk: &mut dyn Disk,
    ) -> Result<(), DiskError> {
        let id = match self.current {
            Some(id) => id,
            None => self.begin(transaction.zxid(), disk)?,
        };
        let mut entry = Writer::default();
        entry.long(i64::from(transaction.digest));
        entry.bytes(&transaction.bytes);
        entry.byte(END_OF_RECORD);
        disk.append(id, entry.finish())?;
        if !self.dirty.contains(&id) {
            self.dirty.push(id);
        }
        self.last = transaction.zxid();
        Ok(())
    }

    fn begin(&mut self, first: Zxid, disk: &mut dyn Disk) -> Result<FileId, DiskError> {
        let id = disk.open(&file(&self.directory, PREFIX, first))?;
        // A torn file of the same name may be left of an earlier life.
        disk.truncate(id, 0)?;
        let mut header = Writer::default();
        header.int(MAGIC);
        header.int(VERSION);
        header.long(0);
        disk.append(id, header.finish())?;
        self.current = Some(id);
        Ok(id)
    }

    /// Starts a flush unless one is under way or nothing is to be flushed.
    pub(crate) fn flush(&mut self, io: &mut Io<'_>) {
        if !self.force_sync || self.flight.is_some() || self.dirty.is_empty() {
            return;
        }
        self.next_flush += 1;
        let flush = FlushId(self.next_flush);
        self.flight = Some(Flight {
            flush,
            up_to: self.last,
        });
        io.flush(flush, std::mem::take(&mut self.dirty));
    }

    /// A flush is over; whether it was this log's.
    pub(crate) fn flushed(&mut self, flush: FlushId, io: &mut Io<'_>) -> bool {
        let Some(flight) = self.flight.take_if(|flight| flight.flush == flush) else {
            return false;
        };
        self.finished_flush = flush.0;
        self.durable = self.durable.max(flight.up_to);
        self.flush(io);
        true
    }

    /// Drops every transaction after `zxid`; before ZOOKEEPER-1156, and then not `exactly`, a little more.
    pub(crate) fn truncate(
        &mut self,
        zxid: Zxid,
        exactly: bool,
        disk: &mut dyn Disk,
    ) -> Result<(), DiskError> {
        self.current = None;
        for first in numbered(disk, &self.directory, PREFIX).into_iter().rev() {
            let path = file(&self.directory, PREFIX, first);
            let Some(id) = disk.find(&path) else { continue };
            if first > zxid {
                self.dirty.retain(|dirty| *dirty != id);
                disk.remove(&path)?;
                continue;
            }
            let content = self.read(first, disk)?;
            let mut end = content.end_of(|entry| entry <= zxid);
            if !exactly {
                end = end.saturating_sub(content.uncounted(zxid));
            }
            if end < disk.len(id) {
                // At once and for good: were the cut only cached, a power loss could bring the tail back in front of what
                // the new leader sends next.
                let kept = disk.read(id, 0, end)?;
                self.dirty.retain(|dirty| *dirty != id);
                disk.replace(&path, kept)?;
            }
            break;
        }
        self.last = self.last.min(zxid);
        self.durable = self.durable.min(zxid);
        if let Some(flight) = &mut self.flight {
            flight.up_to = flight.up_to.min(zxid);
        }
        Ok(())
    }

    /// The first zxids of the files, from the one that may hold what follows `zxid`.
    pub(crate) fn files_after(&self, zxid: Zxid, disk: &dyn Disk) -> Vec<Zxid> {
        let mut files = numbered(disk, &self.directory, PREFIX);
        let skip = files.iter().rposition(|first| *first <= zxid).unwrap_or(0);
        files.drain(..skip);
        files
    }

    /// Reads one file.
    pub(crate) fn read(&self, first: Zxid, disk: &mut dyn Disk) -> Result<LogFile, DiskError> {
        let Some(id) = disk.find(&file(&self.directory, PREFIX, first)) else {
            return Err(DiskError::NotFound);
        };
        let len = disk.len(id);
        Ok(parse(disk.read(id, 0, len)?))
    }

    /// Cuts one file to `end` bytes and removes the later ones: recovery found the history to stop there.
    pub(crate) fn cut(
        &mut self,
        first: Zxid,
        end: u64,
        disk: &mut dyn Disk,
    ) -> Result<(), DiskError> {
        for later in numbered(disk, &self.directory, PREFIX) {
            let path = file(&self.directory, PREFIX, later);
            if later > first || (later == first && end <= HEADER) {
                if let Some(id) = disk.find(&path) {
                    self.dirty.retain(|dirty| *dirty != id);
                }
                disk.remove(&path)?;
            } else if later == first
                && let Some(id) = disk.find(&path)
            {
                disk.truncate(id, end)?;
            }
        }
        Ok(())
    }

    /// The transactions after `zxid`, oldest first, without a gap; `None` when the files do not reach back that far.
    pub(crate) fn after(
        &self,
        zxid: Zxid,
        disk: &mut dyn Disk,
    ) -> Result<Option<Vec<(Zxid, Bytes)>>, DiskError> {
        if zxid < self.base {
            return Ok(None);
        }
        let mut found = Vec::new();
        let mut last = zxid;
        let mut anchored = zxid == self.base;
        for first in self.files_after(zxid, disk) {
            for (transaction, _) in self.read(first, disk)?.entries {
                let next = transaction.zxid();
                if next <= zxid {
                    anchored |= next == zxid;
                } else if anchored && follows(last, next) {
                    last = next;
                    found.push((next, transaction.bytes));
                } else {
                    return Ok(None);
                }
            }
        }
        Ok(anchored.then_some(found))
    }
}

fn parse(bytes: Bytes) -> LogFile {
    let total = bytes.len();
    let mut reader = Reader::new(bytes);
    let mut file = LogFile {
        entries: Vec::new(),
        torn: false,
    };
    let header = (reader.int(), reader.int(), reader.long());
    if (header.0, header.1) != (Some(MAGIC), Some(VERSION)) || header.2.is_none() {
        file.torn = true;
        return file;
    }
    while reader.remaining() > 0 {
        let Some(transaction) = entry(&mut reader) else {
            file.torn = true;
            break;
        };
        let end = u64::try_from(total - reader.remaining()).unwrap_or(u64::MAX);
        file.entries.push((transaction, end));
    }
    file
}

fn entry(reader: &mut Reader) -> Option<Transaction> {
    let checksum = reader.long()?;
    let bytes = reader.bytes()?;
    if reader.byte()? != END_OF_RECORD || checksum != i64::from(adler32(&bytes)) {
        return None;
    }
    Transaction::parse(bytes)
}

#[cfg(test)]
mod bytes_test {
    use super::*;
    use proptest::prelude::*;

    /// A log file of some sets of data, as a server writes it.
    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_be_bytes());
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(0_i64.to_be_bytes());
        for counter in 1..=4 {
            let header = crate::txn::TxnHeader {
                session: protocol::ids::SessionId(1),
                cxid: protocol::ids::Xid(counter),
                zxid: Zxid::new(1, counter.unsigned_abs()),
                time: 5,
            };
            let body = crate::txn::Txn::SetData {
                path: "/a".into(),
                data: Bytes::from_static(b"data"),
                version: counter,
            };
            let payload = Transaction::new(header, body).bytes;
            bytes.extend(i64::from(adler32(&payload)).to_be_bytes());
            bytes.extend(i32::try_from(payload.len()).unwrap_or(0).to_be_bytes());
            bytes.extend(&payload);
            bytes.push(END_OF_RECORD);
        }
        bytes
    }

    #[test]
    fn a_whole_file_is_read_to_its_end() {
        let file = parse(Bytes::from(written()));
        assert!(!file.torn);
        assert_eq!(file.entries.len(), 4);
    }

    proptest! {
        #[test]
        fn a_damaged_file_gives_a_prefix_of_what_was_written(at in 0_usize..1000, byte in any::<u8>(), cut in 0_usize..1000) {
            let whole = parse(Bytes::from(written())).entries;
            let mut bytes = written();
            let place = bytes.len() * at / 1000;
            bytes[place] = byte;
            bytes.truncate(bytes.len() * cut / 1000 + 1);
            let found = parse(Bytes::from(bytes)).entries;
            prop_assert!(found.len() <= whole.len());
            for (found, written) in found.iter().zip(&whole) {
                prop_assert_eq!(&found.0.bytes, &written.0.bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_are_a_torn_file(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            prop_assert!(parse(Bytes::from(bytes)).torn);
        }
    }
}
