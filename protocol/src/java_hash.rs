//! Java's own hash codes, where Kafka lets them decide a placement.
//!
//! A group's offsets live in partition `Utils.abs(groupId.hashCode) % n` of `__consumer_offsets`, a transactional id
//! likewise in `__transaction_state`; the 0.8 producer placed a key by `abs(key.hashCode) % n`.

/// `String.hashCode`: base 31 over the UTF-16 units.
pub fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// `Arrays.hashCode(byte[])`, by which 0.8's `ByteArrayPartitioner` places a key: starts at 1, bytes are signed.
pub fn bytes_hash(data: &[u8]) -> i32 {
    data.iter().fold(1, |hash: i32, byte| {
        hash.wrapping_mul(31)
            .wrapping_add(i32::from(i8::from_ne_bytes([*byte])))
    })
}

/// `Utils.abs`: the absolute value, and 0 for the one number that has none (KAFKA-1469; before it, `Utils.abs` cleared
/// the sign bit, which is [`crate::murmur2::to_positive`]).
pub const fn abs(number: i32) -> i32 {
    match number.checked_abs() {
        Some(positive) => positive,
        None => 0,
    }
}

/// The partition among `partitions` (more than zero) that holds what belongs to `id`.
pub fn partition_for_id(id: &str, partitions: i32) -> i32 {
    abs(string_hash(id)) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_hashes_are_those_of_java() {
        assert_eq!(string_hash(""), 0);
        assert_eq!(string_hash("a"), 97);
        assert_eq!(string_hash("hello"), 99_162_322);
        assert_eq!(string_hash("polygenelubricants"), i32::MIN);
    }

    #[test]
    fn a_character_outside_the_basic_plane_counts_as_two_units() {
        assert_eq!(string_hash("\u{1F600}"), 0xD83D * 31 + 0xDE00);
    }

    #[test]
    fn byte_array_hashes_start_at_one_and_take_bytes_as_signed() {
        assert_eq!(bytes_hash(b""), 1);
        assert_eq!(bytes_hash(b"a"), 128);
        assert_eq!(bytes_hash(&[0xff]), 30);
    }

    #[test]
    fn the_smallest_number_becomes_zero() {
        assert_eq!(abs(i32::MIN), 0);
        assert_eq!(abs(-5), 5);
        assert_eq!(abs(5), 5);
        assert_eq!(partition_for_id("polygenelubricants", 50), 0);
        assert_eq!(partition_for_id("hello", 50), 22);
    }
}
