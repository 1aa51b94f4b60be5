//! See `sluice_fuzz::targets::decode_document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::targets::decode_document(data));
