//! How a batch lies on the disk: compressed, or plain, as it is where that is smaller and
//! as earlier agents left it. Its first byte says which. What is in a batch is not known
//! here.

use gnomon_schemas::limits::RESULTS_BYTES_MAX;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

/// What a plain batch begins with; no zlib stream does.
const PLAIN: u8 = b'{';
/// The usual compromise. All of it makes a minute of records smaller by a hundredth.
const EFFORT: u8 = 6;

/// A batch as it is stored.
pub(super) fn pack(batch: Vec<u8>) -> Vec<u8> {
    let packed = compress_to_vec_zlib(&batch, EFFORT);
    if packed.len() < batch.len() { packed } else { batch }
}

/// The batch that was stored; none where the disk does not give it as it was. What would
/// be larger than any batch is none: it takes no more memory than one.
pub(super) fn unpack(stored: Vec<u8>) -> Option<Vec<u8>> {
    if stored.first() == Some(&PLAIN) {
        return Some(stored);
    }
    decompress_to_vec_zlib_with_limit(&stored, RESULTS_BYTES_MAX).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_and_small_batches_stay_plain() {
        let record = r#"{"at_ms":1763683200000,"tick":81,"outputs":{"setpoint_c":45.0}},"#;
        let batch = format!("{{\"records\":[{}]}}", record.repeat(300)).into_bytes();
        let packed = pack(batch.clone());
        assert!(packed.len() * 8 < batch.len() && packed.first() != Some(&PLAIN));
        assert_eq!(unpack(packed), Some(batch));
        assert_eq!(pack(b"{}".to_vec()), b"{}");
        assert_eq!(unpack(b"{}".to_vec()), Some(b"{}".to_vec()));
    }

    #[test]
    fn what_rotted_or_is_larger_than_any_batch_is_none() {
        let batch = format!("{{\"text\":\"{}\"}}", "a text ".repeat(1_000)).into_bytes();
        let packed = pack(batch);
        for at in 0..packed.len() {
            let mut rotten = packed.clone();
            rotten[at] ^= 0x10;
            assert_eq!(unpack(rotten), None, "byte {at}");
        }
        assert_eq!(unpack(packed[..packed.len() - 1].to_vec()), None);
        assert_eq!(unpack(vec![]), None);
        let largest = vec![b'{'; RESULTS_BYTES_MAX];
        assert_eq!(unpack(pack(largest.clone())), Some(largest));
        assert_eq!(unpack(pack(vec![b'{'; RESULTS_BYTES_MAX + 1])), None);
        assert_eq!(unpack(pack(vec![b'{'; 64 * RESULTS_BYTES_MAX])), None);
    }
}
