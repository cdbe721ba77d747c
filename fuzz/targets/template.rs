//! Fuzzes the reader of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = concord_checkpoint::readers::template(bytes);
});
