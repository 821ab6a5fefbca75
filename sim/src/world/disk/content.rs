//! The bytes of one file as a list of shared chunks.
//!
//! Appends are kept as they came (`Bytes`, not copied), in blocks of at most [`BLOCK`] chunks that are shared between
//! clones and copied when written; so a clone costs one pointer per block, and an append after it copies one block at most.

use bytes::{Bytes, BytesMut};
use std::sync::Arc;

const BLOCK: usize = 64;

#[derive(Clone, Debug)]
struct Chunk {
    start: u64,
    bytes: Bytes,
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    blocks: Vec<Arc<Vec<Chunk>>>,
    len: u64,
}

/// A count of bytes.
pub(super) fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Content {
    pub(super) fn of(bytes: Bytes) -> Self {
        let mut content = Self::default();
        content.append(bytes);
        content
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn append(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let start = self.len;
        self.len += size(bytes.len());
        let chunk = Chunk { start, bytes };
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK => Arc::make_mut(block).push(chunk),
            Some(_) | None => self.blocks.push(Arc::new(vec![chunk])),
        }
    }

    pub(super) fn truncate(&mut self, len: u64) {
        if len >= self.len {
            return;
        }
        self.len = len;
        while self
            .blocks
            .last()
            .is_some_and(|block| block[0].start >= len)
        {
            self.blocks.pop();
        }
        if let Some(block) = self.blocks.last_mut() {
            let chunks = Arc::make_mut(block);
            while chunks.last().is_some_and(|chunk| chunk.start >= len) {
                chunks.pop();
            }
            if let Some(last) = chunks.last_mut() {
                last.bytes.truncate(index(len - last.start));
            }
        }
    }

    /// At most `len` bytes from `position`.
    pub(super) fn read(&self, position: u64, len: u64) -> Bytes {
        let end = position.saturating_add(len).min(self.len);
        if position >= end {
            return Bytes::new();
        }
        let mut block = self
            .blocks
            .partition_point(|block| block[0].start <= position)
            .saturating_sub(1);
        let mut chunk = self.blocks[block]
            .partition_point(|chunk| chunk.start <= position)
            .saturating_sub(1);
        let first = &self.blocks[block][chunk];
        if end <= first.start + size(first.bytes.len()) {
            return first
                .bytes
                .slice(index(position - first.start)..index(end - first.start));
        }
        let mut collected = BytesMut::with_capacity(index(end - position));
        let mut at = position;
        while at < end {
            let Some(current) = self.blocks[block].get(chunk) else {
                block += 1;
                chunk = 0;
                continue;
            };
            let until = end.min(current.start + size(current.bytes.len()));
            collected.extend_from_slice(
                &current.bytes[index(at - current.start)..index(until - current.start)],
            );
            at = until;
            chunk += 1;
        }
        collected.freeze()
    }

    /// Overwrites bytes that are there; what corruption does. Bytes beyond the end are ignored.
    pub(super) fn overwrite(&mut self, position: u64, bytes: &[u8]) {
        let end = position.saturating_add(size(bytes.len())).min(self.len);
        if position >= end {
            return;
        }
        let tail = self.read(end, self.len - end);
        let kept = index(end - position);
        self.truncate(position);
        self.append(Bytes::copy_from_slice(&bytes[..kept]));
        self.append(tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> (Content, Vec<u8>) {
        let mut content = Content::default();
        let mut plain = Vec::new();
        for number in 0_u32..500 {
            let bytes = vec![u8::try_from(number % 251).unwrap(); index(u64::from(number % 7))];
            plain.extend_from_slice(&bytes);
            content.append(Bytes::from(bytes));
        }
        (content, plain)
    }

    #[test]
    fn reads_give_what_a_plain_array_would() {
        let (content, plain) = filled();
        assert_eq!(content.len(), size(plain.len()));
        for position in (0..plain.len() + 5).step_by(3) {
            for len in [0, 1, 2, 50, 5000] {
                let end = (position + len).min(plain.len());
                let expected = plain.get(position..end).unwrap_or(&[]);
                assert_eq!(content.read(size(position), size(len)), expected);
            }
        }
    }

    #[test]
    fn a_read_within_one_chunk_shares_its_memory() {
        let bytes = Bytes::from_static(b"0123456789");
        let content = Content::of(bytes.clone());
        assert_eq!(content.read(2, 3).as_ptr(), bytes[2..].as_ptr());
    }

    #[test]
    fn truncation_and_appends_leave_a_clone_alone() {
        let (content, plain) = filled();
        for len in (0..plain.len()).step_by(37) {
            let mut cut = content.clone();
            cut.truncate(size(len));
            cut.append(Bytes::from_static(b"xyz"));
            let mut expected = plain[..len].to_vec();
            expected.extend_from_slice(b"xyz");
            assert_eq!(cut.read(0, u64::MAX), expected);
        }
        assert_eq!(content.read(0, u64::MAX), plain);
    }

    #[test]
    fn overwriting_changes_only_the_bytes_named() {
        let (mut content, mut plain) = filled();
        content.overwrite(100, &[255; 9]);
        plain[100..109].fill(255);
        let end = plain.len();
        content.overwrite(size(end) - 1, &[254; 9]);
        plain[end - 1] = 254;
        assert_eq!(content.read(0, u64::MAX), plain);
    }
}
