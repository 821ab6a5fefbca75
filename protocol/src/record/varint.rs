//! Zigzag variable-length numbers, as `ByteUtils.writeVarint`, `readVarint` and their 64-bit twins.
//!
//! Like Kafka's reader, the last group of an over-long number loses the bits that do not fit instead of being refused.

use super::BatchError;

const MAX_BYTES_32: usize = 5;
const MAX_BYTES_64: usize = 10;

fn zigzag_32(value: i32) -> u32 {
    u32::from_ne_bytes(((value << 1) ^ (value >> 31)).to_ne_bytes())
}

fn zigzag_64(value: i64) -> u64 {
    u64::from_ne_bytes(((value << 1) ^ (value >> 63)).to_ne_bytes())
}

/// How many groups of seven bits it takes to write a number that is `bits` long.
const fn groups(bits: u32) -> usize {
    // At most 10; the loop is a division the compiler sees through.
    let mut count = 1;
    let mut covered = 7;
    while covered < bits {
        covered += 7;
        count += 1;
    }
    count
}

/// The bytes `value` takes as a varint.
pub(super) fn size_32(value: i32) -> usize {
    groups(32 - zigzag_32(value).leading_zeros())
}

/// The bytes `value` takes as a varlong.
pub(super) fn size_64(value: i64) -> usize {
    groups(64 - zigzag_64(value).leading_zeros())
}

/// Appends `value` as a varint.
pub(super) fn put_32(buffer: &mut Vec<u8>, value: i32) {
    put(buffer, u64::from(zigzag_32(value)));
}

/// Appends `value` as a varlong.
pub(super) fn put_64(buffer: &mut Vec<u8>, value: i64) {
    put(buffer, zigzag_64(value));
}

fn put(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    buffer.push(value.to_le_bytes()[0]);
}

/// Takes a varint off the front of `input`.
pub(super) fn take_32(input: &mut &[u8]) -> Result<i32, BatchError> {
    let [a, b, c, d, ..] = take(input, MAX_BYTES_32)?.to_le_bytes();
    let raw = u32::from_le_bytes([a, b, c, d]);
    let sign = if raw & 1 == 1 { u32::MAX } else { 0 };
    Ok(i32::from_ne_bytes(((raw >> 1) ^ sign).to_ne_bytes()))
}

/// Takes a varlong off the front of `input`.
pub(super) fn take_64(input: &mut &[u8]) -> Result<i64, BatchError> {
    let raw = take(input, MAX_BYTES_64)?;
    let sign = if raw & 1 == 1 { u64::MAX } else { 0 };
    Ok(i64::from_ne_bytes(((raw >> 1) ^ sign).to_ne_bytes()))
}

fn take(input: &mut &[u8], max_bytes: usize) -> Result<u64, BatchError> {
    let mut value = 0;
    let mut shift = 0;
    for index in 0..max_bytes {
        let byte = *input.get(index).ok_or(BatchError::RecordTruncated)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            *input = &input[index + 1..];
            return Ok(value);
        }
        shift += 7;
    }
    Err(BatchError::VarintTooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_alternate_between_the_signs() {
        for (value, byte) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (63, 0x7e), (-64, 0x7f)] {
            let mut buffer = Vec::new();
            put_32(&mut buffer, value);
            assert_eq!(buffer, [byte], "{value}");
        }
    }

    #[test]
    fn the_largest_numbers_have_their_known_bytes() {
        let mut buffer = Vec::new();
        put_32(&mut buffer, i32::MAX);
        assert_eq!(buffer, [0xfe, 0xff, 0xff, 0xff, 0x0f]);
        buffer.clear();
        put_64(&mut buffer, i64::MIN);
        assert_eq!(
            buffer,
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]
        );
        buffer.clear();
        put_32(&mut buffer, 300);
        assert_eq!(buffer, [0xd8, 0x04]);
    }

    #[test]
    fn sizes_are_those_of_the_written_bytes_at_every_power_of_two() {
        for bit in 0..63 {
            for value in [(1_i64 << bit) - 1, 1 << bit, -(1 << bit), -(1 << bit) - 1] {
                let mut buffer = Vec::new();
                put_64(&mut buffer, value);
                assert_eq!(buffer.len(), size_64(value), "{value}");
                assert_eq!(take_64(&mut buffer.as_slice()), Ok(value));
                if let Ok(narrow) = i32::try_from(value) {
                    let mut buffer = Vec::new();
                    put_32(&mut buffer, narrow);
                    assert_eq!(buffer.len(), size_32(narrow), "{narrow}");
                    assert_eq!(take_32(&mut buffer.as_slice()), Ok(narrow));
                }
            }
        }
    }

    #[test]
    fn a_number_that_does_not_end_is_refused() {
        assert_eq!(
            take_32(&mut [0xff; 6].as_slice()),
            Err(BatchError::VarintTooLong)
        );
        assert_eq!(
            take_64(&mut [0xff; 11].as_slice()),
            Err(BatchError::VarintTooLong)
        );
        assert_eq!(
            take_32(&mut [0xff; 2].as_slice()),
            Err(BatchError::RecordTruncated)
        );
    }
}
