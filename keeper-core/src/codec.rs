//! Jute, ZooKeeper's serialisation: big-endian numbers, strings and buffers with a four-byte length.
//!
//! Only what transactions and snapshots need; network packets stay typed values.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Writes records.
#[derive(Default)]
pub(crate) struct Writer {
    buffer: BytesMut,
}

impl Writer {
    pub(crate) fn int(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    pub(crate) fn long(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    pub(crate) fn byte(&mut self, value: u8) {
        self.buffer.put_u8(value);
    }

    pub(crate) fn count(&mut self, value: usize) {
        self.int(i32::try_from(value).unwrap_or(i32::MAX));
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.buffer.put_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub(crate) fn written(&self) -> &[u8] {
        &self.buffer
    }

    pub(crate) fn finish(self) -> Bytes {
        self.buffer.freeze()
    }
}

/// Reads records back; `None` where the bytes end or make no sense.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn int(&mut self) -> Option<i32> {
        (self.rest.len() >= 4).then(|| self.rest.get_i32())
    }

    pub(crate) fn long(&mut self) -> Option<i64> {
        (self.rest.len() >= 8).then(|| self.rest.get_i64())
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        (!self.rest.is_empty()).then(|| self.rest.get_u8())
    }

    pub(crate) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.int()?).ok()
    }

    pub(crate) fn bytes(&mut self) -> Option<Bytes> {
        let len = self.count()?;
        (self.rest.len() >= len).then(|| self.rest.split_to(len))
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}

/// Adler-32, the checksum of ZooKeeper's log entries and snapshots.
pub(crate) fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    // The longest run whose sums cannot overflow 32 bits.
    const RUN: usize = 5_552;
    let (mut low, mut high) = (1_u32, 0_u32);
    for run in bytes.chunks(RUN) {
        for byte in run {
            low += u32::from(*byte);
            high += low;
        }
        low %= MODULUS;
        high %= MODULUS;
    }
    (high << 16) | low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adler_of_a_known_text() {
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
        assert_eq!(adler32(b""), 1);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::default();
        writer.int(-7);
        writer.long(1 << 40);
        writer.text("/a");
        writer.byte(1);
        let mut reader = Reader::new(writer.finish());
        assert_eq!(reader.int(), Some(-7));
        assert_eq!(reader.long(), Some(1 << 40));
        assert_eq!(reader.text().as_deref(), Some("/a"));
        assert_eq!((reader.byte(), reader.byte()), (Some(1), None));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut writer = Writer::default();
        writer.int(100);
        assert_eq!(Reader::new(writer.finish()).bytes(), None);
    }
}
