//! The 32-bit hash by which producers place keyed records, bit for bit `org.apache.kafka.common.utils.Utils.murmur2`.
//!
//! Java's producer uses it since 0.9; older producers and other languages place the same key elsewhere (`java_hash` has
//! the 0.8 rule), and a broker never repairs that.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

/// The murmur2 hash of `data` as the signed number Java prints.
pub fn murmur2(data: &[u8]) -> i32 {
    // Only the low 32 bits of the length take part; Java arrays have no more.
    let [a, b, c, d, ..] = data.len().to_le_bytes();
    let mut hash = SEED ^ u32::from_le_bytes([a, b, c, d]);
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let word = word.try_into().map_or(0, u32::from_le_bytes);
        let mut mixed = word.wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        let mut word = [0; 4];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u32::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^= hash >> 15;
    i32::from_le_bytes(hash.to_le_bytes())
}

/// `Utils.toPositive`: clears the sign bit. Not the absolute value, so that -1 becomes `i32::MAX`.
pub const fn to_positive(number: i32) -> i32 {
    number & i32::MAX
}

/// The partition of a keyed record among `partitions`, which must be more than zero.
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    to_positive(murmur2(key)) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_producer() {
        let known: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ];
        for (text, hash) in known {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn to_positive_clears_the_sign_bit_and_does_not_negate() {
        assert_eq!(to_positive(-1), i32::MAX);
        assert_eq!(to_positive(i32::MIN), 0);
        assert_eq!(to_positive(7), 7);
        assert_eq!(to_positive(-973_932_308), 1_173_551_340);
    }

    #[test]
    fn a_key_goes_to_the_positive_hash_modulo_the_partitions() {
        assert_eq!(partition_for_key(b"21", 7), 1_173_551_340 % 7);
        assert_eq!(partition_for_key(b"abc", 10), 7);
    }
}
