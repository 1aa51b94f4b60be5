//! One decoder, many batches: nothing of an earlier batch shows in a later one.

use sluice_ingest::decode::Decoder;
use sluice_schemas::{Batch, Micros};

fn record(id: u32, more: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-10-01T00:00:00Z","accountId":"1","region":"us-east-1","requestId":"10000000-0000-4000-8000-{id:012}","operation":"Converse","modelId":"m-{id}","identity":{{"arn":"arn:aws:iam::1:user/u{id}"}}{more}}}"#
    )
}

/// Absent fields stay absent however many texts the earlier batch knew and the later one learns after them.
#[test]
fn absent_fields_stay_absent_in_the_next_batch() {
    let mut decoder = Decoder::new();
    let arrival = Micros(1_800_000_000_000_000);
    let full = r#","inferenceRegion":"us-west-2","errorCode":"ThrottlingException","requestMetadata":{"agent":"a"}"#;
    let first: String = (0..40).map(|id| record(id, full) + "\n").collect();
    for batch_number in 0..3 {
        let mut batch = Batch::default();
        decoder.decode_lines(first.as_bytes(), 0, arrival, &mut batch);
        assert_eq!(batch.invocations.len(), 40);
        let plain: String = (100..140).map(|id| record(id + batch_number, "") + "\n").collect();
        let mut batch = Batch::default();
        decoder.decode_lines(plain.as_bytes(), 0, arrival, &mut batch);
        assert_eq!(batch.invocations.len(), 40, "{:?}", batch.rejected);
        for profile in &batch.profiles {
            assert_eq!(batch.strings.get(profile.inference_region), "");
            assert_eq!(batch.strings.get(profile.error_code), "");
            assert_eq!(batch.strings.get(profile.metadata), "");
            assert!(batch.strings.get(profile.principal_arn).starts_with("arn:aws:iam::1:user/u1"));
        }
    }
}
