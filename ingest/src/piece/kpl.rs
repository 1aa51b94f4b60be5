//! Takes apart the records that the Kinesis Producer Library puts together.
//!
//! Source of the format: "KPL Aggregated Record Format" of the Amazon Kinesis Producer Library: four magic bytes, a protobuf
//! message, the MD5 of the message. Partition keys are not needed: a record that a stale shard map put beside its shard is
//! put again by the producer, and dedup tells the two.

use md5::{Digest, Md5};
use prost::Message;
use prost::bytes::Bytes;

/// First bytes of an aggregated record.
pub(super) const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
/// Bytes of the checksum at its end.
const CHECKSUM: usize = 16;

/// The message; of its fields only the records are read.
#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(message, repeated, tag = "3")]
    records: Vec<UserRecord>,
}

/// One record as it was given to the library.
#[derive(Clone, PartialEq, Message)]
struct UserRecord {
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
}

/// Returns the user records of an aggregated record, or what is wrong with it; nothing of a damaged one is used.
pub(super) fn user_records(aggregate: Bytes) -> Result<Vec<Bytes>, &'static str> {
    let end = aggregate.len().checked_sub(CHECKSUM).filter(|&end| end >= MAGIC.len()).ok_or("shorter than its frame")?;
    let message = aggregate.slice(MAGIC.len()..end);
    if Md5::digest(&message)[..] != aggregate[end..] {
        return Err("its checksum does not match");
    }
    let decoded = AggregatedRecord::decode(message).map_err(|_| "it is no protobuf message of that kind")?;
    decoded.records.into_iter().map(|record| record.data).collect::<Option<_>>().ok_or("a user record has no data")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Puts records together as the library does, with a partition key table and indexes.
    pub(in crate::piece) fn aggregate(records: &[&[u8]]) -> Vec<u8> {
        #[derive(Clone, PartialEq, Message)]
        struct Written {
            #[prost(string, repeated, tag = "1")]
            partition_keys: Vec<String>,
            #[prost(message, repeated, tag = "3")]
            records: Vec<WrittenRecord>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct WrittenRecord {
            #[prost(uint64, optional, tag = "1")]
            partition_key_index: Option<u64>,
            #[prost(bytes = "vec", optional, tag = "3")]
            data: Option<Vec<u8>>,
        }
        let records = records.iter().map(|data| WrittenRecord { partition_key_index: Some(0), data: Some(data.to_vec()) }).collect();
        let message = Written { partition_keys: vec!["key".to_owned()], records }.encode_to_vec();
        [&MAGIC[..], &message, &Md5::digest(&message)].concat()
    }

    #[test]
    fn what_was_put_together_comes_apart() {
        let records: [&[u8]; 3] = [b"one", b"", b"three"];
        assert_eq!(user_records(aggregate(&records).into()).expect("whole"), records);
        assert_eq!(user_records(aggregate(&[]).into()).expect("whole"), Vec::<Bytes>::new());
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let whole = aggregate(&[b"one", b"two"]);
        for at in MAGIC.len()..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(user_records(damaged.into()), Err("its checksum does not match"), "byte {at}");
        }
        for length in MAGIC.len()..whole.len() {
            assert!(user_records(whole[..length].to_vec().into()).is_err(), "cut to {length}");
        }
        let nothing = [&MAGIC[..], b"\xff\xff", &Md5::digest(b"\xff\xff")].concat();
        assert_eq!(user_records(nothing.into()), Err("it is no protobuf message of that kind"));
    }
}
